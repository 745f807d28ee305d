// Engine: sequences, the pages they share, and their state in files.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/arrays.h"
#include "bind/engine.h"
#include "bind/file_path.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zs::bind {
namespace {

using graph::Engine;

nb::dict cache_stats(BoundEngine& self) {
  const kv::CacheStats stats = locked(self, [](Engine& e) { return e.sequences().stats(); });
  nb::dict d;
  d["pages"] = stats.pages;
  d["held"] = stats.held;
  d["cached"] = stats.cached;
  d["free"] = stats.free;
  d["lookups"] = stats.lookups;
  d["lookup_tokens"] = stats.lookup_tokens;
  d["hits"] = stats.hits;
  d["hit_tokens"] = stats.hit_tokens;
  d["registered"] = stats.registered;
  d["merged"] = stats.merged;
  d["copied"] = stats.copied;
  d["evicted"] = stats.evicted;
  return d;
}

void bind_pages(nb::class_<BoundEngine>& engine) {
  engine
      .def_prop_ro(
          "free_tokens",
          [](BoundEngine& self) {
            return locked(self, [](Engine& e) { return e.sequences().free_tokens(); });
          },
          "Positions that can still be given out: 64 for each page that no sequence holds. A\n"
          "sequence that shares its last page, or went back into a full one, may take a page more\n"
          "than its tokens need when it goes on.")
      .def(
          "sequence_pages",
          [](BoundEngine& self, int sequence) {
            return locked(self, [&](Engine& e) { return e.sequences().pages(sequence); });
          },
          "sequence"_a, nb::sig("def sequence_pages(self, sequence: int) -> list[int]"),
          "Numbers of the pages that hold a sequence, 64 positions each, in order.")
      .def(
          "sequence_tokens",
          [](BoundEngine& self, int sequence) {
            return locked(self, [&](Engine& e) { return e.sequences().tokens(sequence); });
          },
          "sequence"_a, nb::sig("def sequence_tokens(self, sequence: int) -> list[int]"),
          "Tokens that a sequence holds, in order.")
      .def(
          "cache_stats", &cache_stats, nb::sig("def cache_stats(self) -> dict[str, int]"),
          "Pages: pages, held (by sequences), cached (by none, kept for a prefix) and free. Since\n"
          "the load: lookups of adopt_prefix, lookup_tokens that could have been found, hits and\n"
          "hit_tokens; pages registered (became full), merged (of these, given back because one\n"
          "with the same tokens was there), copied (to be written) and evicted.")
      .def(
          "check_integrity",
          [](BoundEngine& self) { locked(self, [](Engine& e) { e.sequences().check(); }); },
          "Compare pages, their users, tokens and hashes with one another. Raises InternalError\n"
          "if they do not agree.");
}

void bind_state(nb::class_<BoundEngine>& engine) {
  engine
      .def(
          "save_state",
          [](BoundEngine& self, int sequence, const FilePath& path) {
            locked(self, [&](Engine& e) { e.save_state(sequence, path.text); });
          },
          "sequence"_a, "path"_a,
          "Write a sequence's tokens, keys and values to a file, which appears under its name\n"
          "when it is whole. Steps wait meanwhile. Raises StorageError or InvalidRequestError.")
      .def(
          "load_state",
          [](BoundEngine& self, const FilePath& path) {
            return locked(self, [&](Engine& e) { return e.load_state(path.text); });
          },
          "path"_a,
          "A new sequence with what save_state() wrote; returns its number. Raises, with nothing\n"
          "changed, StateFileError (cut, damaged, of another version, model or kv_type),\n"
          "ContextLengthError, OutOfBudgetError or StorageError.");
}

}  // namespace

void sequences(nb::class_<BoundEngine>& engine) {
  engine
      .def(
          "open_sequence",
          [](BoundEngine& self) {
            return locked(self, [](Engine& e) { return e.sequences().open(); });
          },
          "Start an empty sequence; returns its number.")
      .def(
          "close_sequence",
          [](BoundEngine& self, int sequence) {
            locked(self, [&](Engine& e) { e.sequences().close(sequence); });
          },
          "sequence"_a,
          "Free a sequence. Its full pages stay cached, for prompts that begin alike, until their\n"
          "memory is wanted.")
      .def(
          "fork_sequence",
          [](BoundEngine& self, int sequence) {
            return locked(self, [&](Engine& e) { return e.sequences().fork(sequence); });
          },
          "sequence"_a,
          "A new sequence with the same tokens; returns its number. They share pages until one of\n"
          "them writes to the last, which is then copied.")
      .def(
          "adopt_prefix",
          [](BoundEngine& self, int sequence, const IndexInput& tokens) {
            return locked(self, [&](Engine& e) {
              return e.sequences().adopt(sequence, {tokens.data(), tokens.size()});
            });
          },
          "sequence"_a, "tokens"_a,
          "Give an empty sequence the longest run of full pages, of open sequences or closed "
          "ones,\n"
          "that begins `tokens` (int32 [T]) and leaves at least one of them to compute. Returns\n"
          "the positions it then holds, a multiple of 64. Raises InvalidRequestError if it is not\n"
          "empty.")
      .def(
          "length",
          [](BoundEngine& self, int sequence) {
            return locked(self, [&](Engine& e) { return e.sequences().length(sequence); });
          },
          "sequence"_a, "Tokens a sequence holds.")
      .def(
          "truncate",
          [](BoundEngine& self, int sequence, size_t length) {
            locked(self, [&](Engine& e) { e.sequences().truncate(sequence, length); });
          },
          "sequence"_a, "length"_a, "Forget all but the first `length` tokens of a sequence.");
  bind_pages(engine);
  bind_state(engine);
}

}  // namespace zs::bind
