// _core.Sampler.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "bind/bind.h"
#include "sample/sampler.h"

namespace nb = nanobind;

namespace zs::bind {
namespace {

using sample::Sampler;
using Logits = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::span<const float> span(const Logits& logits) {
  return {logits.data(), logits.shape(0)};
}

void construct(Sampler* self, int32_t vocab, double temperature, int32_t top_k, double top_p,
               double min_p, double typical_p, double repetition_penalty, double presence_penalty,
               double frequency_penalty, int32_t penalty_last_n,
               const std::map<int32_t, double>& logit_bias, uint64_t seed) {
  sample::Settings settings;
  settings.vocab = vocab;
  settings.temperature = temperature;
  settings.top_k = top_k;
  settings.top_p = top_p;
  settings.min_p = min_p;
  settings.typical_p = typical_p;
  settings.penalties = {repetition_penalty, presence_penalty, frequency_penalty, penalty_last_n};
  settings.logit_bias.assign(logit_bias.begin(), logit_bias.end());
  settings.seed = seed;
  new (self) Sampler(settings);
}

std::vector<std::pair<int32_t, double>> logprobs(const Sampler& sampler, const Logits& logits,
                                                 int32_t top_n,
                                                 const std::vector<int32_t>& tokens) {
  std::vector<std::pair<int32_t, double>> out;
  for (const auto& [token, logprob] : sampler.logprobs(span(logits), top_n, tokens)) {
    out.emplace_back(token, logprob);
  }
  return out;
}

}  // namespace

void sample(nb::module_& m) {
  const sample::Settings defaults;
  const sample::PenaltySettings& penalties = defaults.penalties;
  nb::class_<Sampler>(
      m, "Sampler",
      "Chooses tokens from logits: bias, penalties, top-k, typical, top-p, min-p, temperature,\n"
      "in this order; every filter is off by default. Temperature 0 takes the most likely token\n"
      "after bias and penalties, the lowest id on a tie. One seed gives the same tokens on every\n"
      "machine. Not to be used from two threads at once.")
      .def("__init__", &construct, nb::arg("vocab"), nb::kw_only(),
           nb::arg("temperature") = defaults.temperature, nb::arg("top_k") = defaults.top_k,
           nb::arg("top_p") = defaults.top_p, nb::arg("min_p") = defaults.min_p,
           nb::arg("typical_p") = defaults.typical_p,
           nb::arg("repetition_penalty") = penalties.repetition,
           nb::arg("presence_penalty") = penalties.presence,
           nb::arg("frequency_penalty") = penalties.frequency,
           nb::arg("penalty_last_n") = penalties.last_n,
           nb::arg("logit_bias") = std::map<int32_t, double>(), nb::arg("seed") = defaults.seed,
           "Raises InvalidRequestError for a value out of its range.")
      .def("accept", &Sampler::accept, nb::arg("token"),
           "Adds a token, of the prompt or generated, to the history of the penalties.")
      .def(
          "sample", [](Sampler& s, const Logits& logits) { return s.sample(span(logits)); },
          nb::arg("logits"),
          "A token id for float32 logits [vocab]; -inf forbids a token. Does not call accept.\n"
          "Raises ModelFormatError for NaN or +inf, InvalidRequestError for a wrong length or\n"
          "when no token is left.")
      .def("reset", &Sampler::reset, "Back to the seed and an empty history.")
      .def("logprobs", &logprobs, nb::arg("logits"), nb::arg("top_n"),
           nb::arg("tokens") = std::vector<int32_t>(),
           "(token, natural log-probability) of the top_n most likely tokens, then of each of\n"
           "`tokens`, in the model's own distribution: temperature 1, without bias, penalties\n"
           "or filters. Raises as sample does.");
}

}  // namespace zs::bind
