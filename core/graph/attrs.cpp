// Conversions between the attribute types Python sends and those operators want.
#include "graph/attrs.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace zs::graph {

std::string Attrs::where() const {
  return "operator " + std::to_string(index_) + " (" + spec_.kind + "): ";
}

void Attrs::fail(const std::string& what) const {
  throw Error(ErrorKind::InvalidRequest, where() + what);
}

const Attribute* Attrs::find(const char* name) {
  seen_.insert(name);
  const auto it = spec_.attrs.find(name);
  return it == spec_.attrs.end() ? nullptr : &it->second;
}

const Attribute& Attrs::need(const char* name) {
  const Attribute* value = find(name);
  if (!value) fail(std::string("attribute '") + name + "' is missing");
  return *value;
}

int64_t Attrs::integer(const char* name, int64_t low, int64_t high) {
  const auto* value = std::get_if<int64_t>(&need(name));
  if (value && *value >= low && *value <= high) return *value;
  fail(std::string("attribute '") + name + "' is " + (value ? std::to_string(*value) : "none") +
       ", expected an integer from " + std::to_string(low) + " to " + std::to_string(high));
}

int64_t Attrs::integer(const char* name, int64_t low, int64_t high, int64_t fallback) {
  return find(name) ? integer(name, low, high) : fallback;
}

float Attrs::finite(const char* name, double value) const {
  // Also false for NaN.
  if (std::abs(value) <= std::numeric_limits<float>::max()) return static_cast<float>(value);
  fail(std::string("attribute '") + name + "' is " + std::to_string(value) +
       ", expected a finite float");
}

float Attrs::real(const char* name) {
  const Attribute& value = need(name);
  if (const auto* d = std::get_if<double>(&value)) return finite(name, *d);
  if (const auto* i = std::get_if<int64_t>(&value)) return static_cast<float>(*i);
  fail(std::string("attribute '") + name + "' must be a number");
}

float Attrs::real(const char* name, float fallback) {
  return find(name) ? real(name) : fallback;
}

bool Attrs::boolean(const char* name, bool fallback) {
  const Attribute* value = find(name);
  if (!value) return fallback;
  if (const auto* b = std::get_if<bool>(value)) return *b;
  fail(std::string("attribute '") + name + "' must be true or false");
}

std::string Attrs::text(const char* name, const char* fallback) {
  const Attribute* value = find(name);
  if (!value) return fallback;
  if (const auto* s = std::get_if<std::string>(value)) return *s;
  fail(std::string("attribute '") + name + "' must be a string");
}

std::vector<float> Attrs::reals(const char* name) {
  const auto* list = std::get_if<std::vector<double>>(&need(name));
  if (!list) fail(std::string("attribute '") + name + "' must be a list of numbers");
  std::vector<float> values;
  for (const double value : *list) values.push_back(finite(name, value));
  return values;
}

void Attrs::finish() const {
  for (const auto& [name, value] : spec_.attrs) {
    if (!seen_.count(name)) fail("attribute '" + name + "' is not one it has");
  }
}

}  // namespace zs::graph
