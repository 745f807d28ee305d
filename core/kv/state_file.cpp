// Checksums lie before the pages, so that one pass verifies without keeping anything.
#include "kv/state_file.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "base/aligned.h"
#include "base/error.h"
#include "base/xxh3.h"
#include "gguf/report.h"
#include "io/plain_file.h"

namespace zs::kv {
namespace {

constexpr char kMagic[8] = {'Z', 'S', 'S', 'T', 'A', 'T', 'E', '\n'};
constexpr uint32_t kVersion = 1;

struct Head {
  char magic[8];
  uint32_t version;
  uint32_t kv_type;
  uint64_t model;
  uint64_t index_bytes;
  uint64_t layers;
  uint64_t tokens;
  uint64_t page_positions;
  uint64_t checksum;  // xxh3-64 of the index, this as 0
  uint8_t reserved[192];
};
static_assert(sizeof(Head) == 256);

struct LayerEntry {
  int32_t kv_heads, head_dim, value_dim, reserved;
  uint64_t page_bytes;
};
static_assert(sizeof(LayerEntry) == 24);

std::vector<LayerEntry> entries(const KvCache& cache) {
  std::vector<LayerEntry> list;
  for (size_t i = 0; i < cache.shapes().size(); ++i) {
    const LayerShape& s = cache.shapes()[i];
    list.push_back({s.kv_heads, s.head_dim, s.value_dim, 0, cache.page_bytes(i)});
  }
  return list;
}

// Where parts of the index begin.
struct Parts {
  Parts(size_t layers, size_t count)
      : tokens(sizeof(Head) + layers * sizeof(LayerEntry)),
        // Numbers of 8 bytes begin at a multiple of 8.
        checksums(round_up(tokens + count * sizeof(int32_t), 8)),
        end(checksums + pages_for(count) * layers * sizeof(uint64_t)) {}
  size_t tokens, checksums, end;
};

uint64_t checksum_of(std::vector<uint8_t> index) {
  std::memset(index.data() + offsetof(Head, checksum), 0, sizeof(Head::checksum));
  return xxh3_64(index.data(), index.size());
}

class Reader {
 public:
  Reader(const std::string& path, KvCache& cache) : path_(path), file_(path), cache_(cache) {}

  void read_index(uint64_t model, size_t token_limit);
  // Reads each page to where(page, layer) and compares checksums.
  template <class Where>
  void read_pages(const Where& where) const;

  std::span<const int32_t> tokens() const { return tokens_; }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::StateFile, gguf::printable(path_, 4096) + ": " + what);
  }
  [[noreturn]] void refuse_damaged(const std::string& what) const {
    refuse(what + ": the file is cut or damaged; save the state again");
  }

  std::string path_;
  io::PlainFile file_;
  KvCache& cache_;
  std::vector<int32_t> tokens_;
  std::vector<uint64_t> checksums_;
  uint64_t pages_begin_ = 0;
};

void Reader::read_index(uint64_t model, size_t token_limit) {
  Head head;
  if (file_.size() < sizeof(head)) refuse_damaged("it is shorter than a head");
  file_.read(0, {reinterpret_cast<uint8_t*>(&head), sizeof(head)});
  if (std::memcmp(head.magic, kMagic, sizeof(kMagic)) != 0) {
    refuse("it is no saved state; save_state() writes one");
  }
  if (head.version != kVersion) {
    refuse("it has version " + std::to_string(head.version) + ", this zerostall reads version " +
           std::to_string(kVersion) + "; save the state again");
  }
  if (head.index_bytes < sizeof(head) || head.index_bytes > file_.size()) {
    refuse_damaged("its index does not fit");
  }
  std::vector<uint8_t> index(head.index_bytes);
  file_.read(0, index);
  if (checksum_of(index) != head.checksum) refuse_damaged("its index has another checksum");
  if (head.model != model) {
    refuse(
        "it was saved by another model, or with settings that give other results; load it "
        "with what saved it");
  }
  const std::vector<LayerEntry> layers = entries(cache_);
  const size_t layer_bytes = layers.size() * sizeof(LayerEntry);
  const bool same = head.kv_type == static_cast<uint32_t>(cache_.type()) &&
                    head.page_positions == kPage && head.layers == layers.size() &&
                    sizeof(head) + layer_bytes <= index.size() &&
                    std::memcmp(index.data() + sizeof(head), layers.data(), layer_bytes) == 0;
  if (!same) refuse("its cache has another layout; load the model with the kv_type that saved it");
  if (head.tokens > cache_.sequences().context()) {
    throw Error(ErrorKind::ContextLength,
                gguf::printable(path_, 4096) + ": its " + std::to_string(head.tokens) +
                    " positions do not fit the context of " +
                    std::to_string(cache_.sequences().context()) + "; load with a larger ctx");
  }
  const Parts parts(layers.size(), head.tokens);
  uint64_t page_bytes = 0;
  for (const LayerEntry& layer : layers) page_bytes += layer.page_bytes;
  if (index.size() != parts.end ||
      file_.size() != parts.end + page_bytes * pages_for(head.tokens)) {
    refuse_damaged("it has another size than its tokens need");
  }
  tokens_.resize(head.tokens);
  std::memcpy(tokens_.data(), index.data() + parts.tokens, head.tokens * sizeof(int32_t));
  for (const int32_t token : tokens_) {
    if (token < 0 || static_cast<size_t>(token) >= token_limit) {
      refuse("it has token " + std::to_string(token) + ", which is outside the vocabulary");
    }
  }
  checksums_.resize((parts.end - parts.checksums) / sizeof(uint64_t));
  std::memcpy(checksums_.data(), index.data() + parts.checksums, parts.end - parts.checksums);
  pages_begin_ = parts.end;
}

template <class Where>
void Reader::read_pages(const Where& where) const {
  uint64_t offset = pages_begin_;
  size_t next = 0;
  for (size_t page = 0; page < pages_for(tokens_.size()); ++page) {
    for (size_t layer = 0; layer < cache_.shapes().size(); ++layer) {
      const size_t bytes = cache_.page_bytes(layer);
      uint8_t* data = where(page, layer);
      file_.read(offset, {data, bytes});
      if (xxh3_64(data, bytes) != checksums_[next++]) {
        refuse_damaged("page " + std::to_string(page) + " of layer " + std::to_string(layer) +
                       " has another checksum");
      }
      offset += bytes;
    }
  }
}

size_t largest_page(const KvCache& cache) {
  size_t bytes = 0;
  for (size_t i = 0; i < cache.shapes().size(); ++i) bytes = std::max(bytes, cache.page_bytes(i));
  return bytes;
}

}  // namespace

void save_state(const std::string& path, KvCache& cache, int sequence, uint64_t model,
                const kernels::Table& kernels) {
  const std::vector<int32_t>& tokens = cache.sequences().tokens(sequence);
  const std::vector<int32_t>& pages = cache.pages(sequence);
  const std::vector<LayerEntry> layers = entries(cache);
  const Parts parts(layers.size(), tokens.size());
  AlignedBuffer copy(largest_page(cache), "a page of a saved state");
  // Content of a sequence's page: in place if it is full, else a copy without what is not its own.
  const auto content = [&](size_t page, size_t layer) -> std::span<const uint8_t> {
    const size_t bytes = cache.page_bytes(layer);
    const uint8_t* data = cache.page_data(layer, pages[page]);
    if ((page + 1) * kPage <= tokens.size()) return {data, bytes};
    std::memcpy(copy.data(), data, bytes);
    cache.clear(kernels, layer, copy.data(), tokens.size() % kPage);
    return {copy.data(), bytes};
  };
  std::vector<uint8_t> index(parts.end);
  Head head{};
  std::memcpy(head.magic, kMagic, sizeof(kMagic));
  head.version = kVersion;
  head.kv_type = static_cast<uint32_t>(cache.type());
  head.model = model;
  head.index_bytes = parts.end;
  head.layers = layers.size();
  head.tokens = tokens.size();
  head.page_positions = kPage;
  std::memcpy(index.data() + sizeof(head), layers.data(), layers.size() * sizeof(LayerEntry));
  std::memcpy(index.data() + parts.tokens, tokens.data(), tokens.size() * sizeof(int32_t));
  std::vector<uint64_t> checksums;
  for (size_t page = 0; page < pages.size(); ++page) {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const auto bytes = content(page, layer);
      checksums.push_back(xxh3_64(bytes.data(), bytes.size()));
    }
  }
  std::memcpy(index.data() + parts.checksums, checksums.data(),
              checksums.size() * sizeof(uint64_t));
  std::memcpy(index.data(), &head, sizeof(head));
  head.checksum = checksum_of(index);
  std::memcpy(index.data(), &head, sizeof(head));
  io::NewFile file(path);
  file.write(index);
  for (size_t page = 0; page < pages.size(); ++page) {
    for (size_t layer = 0; layer < layers.size(); ++layer) file.write(content(page, layer));
  }
  file.finish();
}

int load_state(const std::string& path, KvCache& cache, uint64_t model, size_t token_limit) {
  Reader reader(path, cache);
  reader.read_index(model, token_limit);
  AlignedBuffer unused(largest_page(cache), "a page of a saved state");
  reader.read_pages([&](size_t, size_t) { return unused.data(); });
  Sequences& sequences = cache.sequences();
  const int sequence = sequences.open();
  try {
    // Pages that are here already need no memory.
    const size_t here = sequences.share_prefix(sequence, reader.tokens());
    const Sequences::Growth whole{sequence, reader.tokens().size()};
    sequences.reserve({&whole, 1});
    const std::vector<int32_t>& pages = sequences.pages(sequence);
    reader.read_pages([&](size_t page, size_t layer) {
      return page < pages_for(here) ? unused.data() : cache.page_data(layer, pages[page]);
    });
    sequences.commit(sequence, reader.tokens().subspan(here));
  } catch (...) {
    sequences.close(sequence);
    throw;
  }
  return sequence;
}

}  // namespace zs::kv
