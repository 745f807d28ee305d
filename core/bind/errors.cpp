// zs::Error -> the exception class of the same name in zerostall.errors.
#include <nanobind/nanobind.h>

#include "base/error.h"
#include "bind/bind.h"

namespace nb = nanobind;

namespace zs::bind {
namespace {

const char* class_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::ModelFormat: return "ModelFormatError";
    case ErrorKind::UnsupportedModel: return "UnsupportedModelError";
    case ErrorKind::OutOfBudget: return "OutOfBudgetError";
    case ErrorKind::Storage: return "StorageError";
    case ErrorKind::InvalidRequest: return "InvalidRequestError";
    case ErrorKind::ContextLength: return "ContextLengthError";
    case ErrorKind::StateFile: return "StateFileError";
    case ErrorKind::Internal: return "InternalError";
    case ErrorKind::Interrupted: return "CancelledError";
  }
  return nullptr;
}

void translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& error) {
    // A signal handler already raised (KeyboardInterrupt, say): keep its exception.
    if (error.kind() == ErrorKind::Interrupted && PyErr_Occurred()) return;
    const char* name = class_name(error.kind());
    nb::object type = nb::module_::import_("zerostall.errors").attr(name ? name : "ZerostallError");
    PyErr_SetString(type.ptr(), error.what());
  }
}

}  // namespace

void errors(nb::module_&) {
  nb::register_exception_translator(translate, nullptr);
}

}  // namespace zs::bind
