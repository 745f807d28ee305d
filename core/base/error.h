// Typed errors of the core; core/bind maps each kind to the Python exception of the same name.
#pragma once

#include <stdexcept>
#include <string>

namespace zs {

enum class ErrorKind {
  ModelFormat,       // the file breaks its own format: ModelFormatError
  UnsupportedModel,  // valid, but not something this version runs: UnsupportedModelError
  OutOfBudget,       // does not fit the RAM budget: OutOfBudgetError
  Storage,           // the operating system refused or failed a read or write: StorageError
  InvalidRequest,    // the caller's argument: InvalidRequestError
  ContextLength,     // more tokens than the context holds: ContextLengthError
  StateFile,         // a saved state that cannot be taken up: StateFileError
  Internal,          // an invariant of the core is broken: InternalError
  Interrupted,       // a signal stopped the step; state is as before it
};

// A message names the file, the field, what was found, what was expected and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace zs
