// Typed reading of an operator's attributes; what was not read is an error.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "graph/tape.h"

namespace zs::graph {

class Attrs {
 public:
  Attrs(const OpSpec& spec, size_t index) : spec_(spec), index_(index) {}

  // Without a default the attribute must be there. All throw InvalidRequest, integer() also for
  // a value outside [low, high], real() and reals() for one that is no finite float.
  int64_t integer(const char* name, int64_t low, int64_t high);
  int64_t integer(const char* name, int64_t low, int64_t high, int64_t fallback);
  float real(const char* name);
  float real(const char* name, float fallback);
  bool boolean(const char* name, bool fallback);
  std::string text(const char* name, const char* fallback);
  std::vector<float> reals(const char* name);

  // Throws when the spec has an attribute that nothing asked for.
  void finish() const;
  // "operator 12 (linear): "
  std::string where() const;
  [[noreturn]] void fail(const std::string& what) const;

 private:
  const Attribute* find(const char* name);
  const Attribute& need(const char* name);
  float finite(const char* name, double value) const;

  const OpSpec& spec_;
  size_t index_;
  std::set<std::string> seen_;
};

}  // namespace zs::graph
