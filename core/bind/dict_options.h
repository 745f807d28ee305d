// Options from a Python dict. A misspelt key is an error: it must not make a test pass.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <set>
#include <string>

#include "base/error.h"

namespace zs::bind {

namespace nb = nanobind;

class DictOptions {
 public:
  explicit DictOptions(const nb::dict& dict) : dict_(dict) {}

  template <class T>
  T get(const char* key, T fallback) {
    known_.insert(key);
    return dict_.contains(key) ? nb::cast<T>(dict_[key]) : fallback;
  }

  void refuse_others(const char* what) const {
    for (const auto& [key, value] : dict_) {
      const auto name = nb::cast<std::string>(key);
      if (known_.count(name)) continue;
      throw Error(ErrorKind::InvalidRequest, std::string(what) + " has no option \"" + name + "\"");
    }
  }

 private:
  const nb::dict& dict_;
  std::set<std::string> known_;
};

}  // namespace zs::bind
