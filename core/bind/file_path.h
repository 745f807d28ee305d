// Paths as arguments.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <string>

namespace zs::bind {

// A path as the file system spells it. nanobind's std::filesystem::path would do, but for its
// signature: `os.PathLike` without argument, which mypy --strict refuses.
struct FilePath {
  std::string text;
};

}  // namespace zs::bind

template <>
struct nanobind::detail::type_caster<zs::bind::FilePath> {
  NB_TYPE_CASTER(zs::bind::FilePath, const_name("str | os.PathLike[str]"))

  bool from_python(handle source, uint8_t, cleanup_list*) noexcept {
    PyObject* encoded = nullptr;
    if (PyUnicode_FSConverter(source.ptr(), &encoded) == 0) {
      PyErr_Clear();
      return false;
    }
    value.text.assign(PyBytes_AsString(encoded), static_cast<size_t>(PyBytes_Size(encoded)));
    Py_DECREF(encoded);
    return true;
  }

  static handle from_cpp(const zs::bind::FilePath& path, rv_policy, cleanup_list*) noexcept {
    return PyUnicode_DecodeFSDefaultAndSize(path.text.data(),
                                            static_cast<Py_ssize_t>(path.text.size()));
  }
};
