// The chain from logits to a token.
#include "sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "sample/exponential.h"

namespace zs::sample {
namespace {

[[noreturn]] void reject(const std::string& name, double value, const char* wanted) {
  std::string text = std::to_string(value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  throw Error(ErrorKind::InvalidRequest, name + " is " + text + "; give " + wanted);
}

void check_fraction(const char* name, double value) {
  if (!(value >= 0 && value <= 1)) reject(name, value, "a number from 0 to 1");
}

void check_finite(const char* name, double value) {
  if (!std::isfinite(value)) reject(name, value, "a finite number");
}

const Settings& checked(const Settings& s) {
  if (s.vocab <= 0) reject("vocab", s.vocab, "the number of logits, at least 1");
  if (!(s.temperature >= 0 && std::isfinite(s.temperature))) {
    reject("temperature", s.temperature, "0 (greedy) or a positive number");
  }
  if (s.top_k < 0) reject("top_k", s.top_k, "0 (off) or a positive number");
  check_fraction("top_p", s.top_p);
  check_fraction("min_p", s.min_p);
  check_fraction("typical_p", s.typical_p);
  if (!(s.penalties.repetition > 0 && std::isfinite(s.penalties.repetition))) {
    reject("repetition_penalty", s.penalties.repetition, "a positive number (1 is off)");
  }
  check_finite("presence_penalty", s.penalties.presence);
  check_finite("frequency_penalty", s.penalties.frequency);
  if (s.penalties.last_n < -1) {
    reject("penalty_last_n", s.penalties.last_n, "-1 (all), 0 (off) or a positive number");
  }
  for (const auto& [token, bias] : s.logit_bias) {
    if (token < 0 || token >= s.vocab) {
      reject("a token of logit_bias", token, "ids of the vocabulary");
    }
    if (!(bias <= std::numeric_limits<float>::max())) {
      reject("a value of logit_bias", bias, "numbers, or -inf to ban a token");
    }
  }
  return s;
}

// Throws when bias and penalties left nothing to draw from.
void check_some_left(bool some) {
  if (some) return;
  throw Error(ErrorKind::InvalidRequest,
              "logit_bias and penalties leave no token to choose; give weaker ones");
}

}  // namespace

Sampler::Sampler(const Settings& settings)
    : settings_(checked(settings)),
      penalties_(settings.penalties),
      random_(settings.seed),
      logits_(static_cast<size_t>(settings.vocab)) {}

void Sampler::accept(int32_t token) {
  if (token < 0 || token >= settings_.vocab) reject("token", token, "an id of the vocabulary");
  penalties_.accept(token);
}

void Sampler::reset() {
  penalties_.reset();
  random_ = Random(settings_.seed);
}

void Sampler::check_length(std::span<const float> logits) const {
  if (logits.size() == logits_.size()) return;
  reject("the number of logits", static_cast<double>(logits.size()),
         ("as many as the vocabulary, " + std::to_string(logits_.size())).c_str());
}

std::vector<TokenLogprob> Sampler::logprobs(std::span<const float> logits, int32_t top_n,
                                            std::span<const int32_t> tokens) const {
  check_length(logits);
  return sample::logprobs(logits, top_n, tokens);
}

int32_t Sampler::sample(std::span<const float> logits) {
  check_length(logits);
  check_logits(logits);
  std::copy(logits.begin(), logits.end(), logits_.begin());
  for (const auto& [token, bias] : settings_.logit_bias) {
    float& logit = logits_[static_cast<size_t>(token)];
    logit = static_cast<float>(logit + bias);
    if (!(logit <= std::numeric_limits<float>::max())) {
      reject("a value of logit_bias", bias, "one that does not overflow the logit");
    }
  }
  penalties_.apply(logits_);
  if (settings_.temperature == 0) {
    const auto best = std::max_element(logits_.begin(), logits_.end());  // the first, on a tie
    check_some_left(std::isfinite(*best));
    return static_cast<int32_t>(best - logits_.begin());
  }
  take_top_k(logits_, settings_.top_k, candidates_);
  check_some_left(!candidates_.empty());
  keep_typical(candidates_, settings_.typical_p);
  keep_top_p(candidates_, settings_.top_p);
  keep_min_p(candidates_, settings_.min_p);
  return draw();
}

int32_t Sampler::draw() {
  const double highest = highest_logit(candidates_);
  weights_.clear();
  double total = 0;
  for (const Candidate& c : candidates_) {
    weights_.push_back(exponential((c.logit - highest) / settings_.temperature));
    total += weights_.back();
  }
  const double target = random_.uniform() * total;
  double sum = 0;
  size_t chosen = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] == 0) continue;
    chosen = i;  // the last that can be drawn, should rounding leave sum at target
    sum += weights_[i];
    if (sum > target) break;
  }
  return candidates_[chosen].token;
}

}  // namespace zs::sample
