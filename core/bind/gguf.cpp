// _core.GgufFile and _core.TensorInfo.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>
#include <string>

#include "base/error.h"
#include "bind/bind.h"
#include "bind/file_path.h"
#include "gguf/file.h"
#include "gguf/report.h"
#include "gguf/types.h"

namespace nb = nanobind;

namespace zs::bind {
namespace {

using gguf::File;
using gguf::TensorInfo;
using gguf::Value;
using gguf::ValueType;

template <typename T>
nb::object numbers(const Value& array) {
  auto values = std::make_unique<T[]>(array.count);
  if (array.count != 0) std::memcpy(values.get(), array.data, array.count * sizeof(T));
  T* data = values.release();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {array.count}, owner));
}

nb::object number_array(const Value& array) {
  switch (array.element) {
    case ValueType::U8: return numbers<uint8_t>(array);
    case ValueType::I8: return numbers<int8_t>(array);
    case ValueType::U16: return numbers<uint16_t>(array);
    case ValueType::I16: return numbers<int16_t>(array);
    case ValueType::U32: return numbers<uint32_t>(array);
    case ValueType::I32: return numbers<int32_t>(array);
    case ValueType::U64: return numbers<uint64_t>(array);
    case ValueType::I64: return numbers<int64_t>(array);
    case ValueType::F32: return numbers<float>(array);
    case ValueType::F64: return numbers<double>(array);
    default: return numbers<bool>(array);
  }
}

// Decodes the values of one metadata key.
class Decoder {
 public:
  Decoder(const File& file, std::string_view key) : file_(file), key_(key) {}

  nb::object decode(const Value& value) const {
    const uint8_t* cursor = value.data;
    switch (value.type) {
      case ValueType::Array: return decode_array(value, cursor);
      case ValueType::String: return decode_string(cursor);
      case ValueType::Bool: return nb::bool_(*cursor != 0);
      case ValueType::F32: return nb::float_(gguf::load<float>(cursor));
      case ValueType::F64: return nb::float_(gguf::load<double>(cursor));
      default: break;
    }
    if (const auto number = gguf::as_uint(value)) return nb::int_(*number);
    return nb::int_(static_cast<int64_t>(*gguf::as_float(value)));
  }

 private:
  nb::object decode_array(const Value& array, const uint8_t*& cursor) const {
    if (const uint32_t bytes = gguf::value_type_bytes(array.element)) {
      cursor += array.count * bytes;
      return number_array(array);
    }
    nb::list list;
    for (uint64_t i = 0; i < array.count; ++i) {
      if (array.element == ValueType::String) {
        list.append(decode_string(cursor));
      } else {
        list.append(decode_array(gguf::next_array(cursor), cursor));
      }
    }
    return list;
  }

  nb::object decode_string(const uint8_t*& cursor) const {
    const std::string_view text = gguf::next_string(cursor);
    PyObject* decoded =
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "strict");
    if (decoded == nullptr) {
      PyErr_Clear();
      gguf::fail_format(file_.paths()[0], "metadata key '" + gguf::printable(key_) + "'",
                        "'" + gguf::printable(text) + "'", "UTF-8 text");
    }
    return nb::steal(decoded);
  }

  const File& file_;
  std::string_view key_;
};

std::string_view type_name(const TensorInfo& tensor) {
  return gguf::ggml_type(tensor.type)->name;
}

nb::tuple shape(const TensorInfo& tensor) {
  nb::list dims;
  for (int i = tensor.n_dims; i-- > 0;) dims.append(tensor.dims[i]);
  return nb::tuple(dims);
}

nb::object tensor_bytes(const std::shared_ptr<File>& file, std::string_view name) {
  const TensorInfo* tensor = file->find(name);
  if (tensor == nullptr) {
    throw nb::key_error(("no tensor '" + gguf::printable(name) + "'").c_str());
  }
  if (tensor->packed) {
    throw Error(ErrorKind::InvalidRequest,
                "tensor '" + gguf::printable(name) +
                    "' is stored packed; take its bytes from the model that was converted");
  }
  auto* keep = new std::shared_ptr<File>(file);
  nb::capsule owner(keep, [](void* p) noexcept { delete static_cast<std::shared_ptr<File>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, const uint8_t, nb::ndim<1>>(
      tensor->data, {static_cast<size_t>(tensor->bytes)}, owner));
}

// A value as it lies in the file, its type first.
nb::bytes metadata_bytes(const File& file, std::string_view key) {
  const Value* value = file.value(key);
  if (value == nullptr) throw nb::key_error(("no key '" + gguf::printable(key) + "'").c_str());
  const bool array = value->type == ValueType::Array;
  const uint8_t* begin = value->data - (array ? 12 : 0);
  const uint8_t* end = begin;
  gguf::skip_value(end, value->type);
  const auto type = static_cast<uint32_t>(value->type);
  std::string bytes(reinterpret_cast<const char*>(&type), sizeof(type));
  bytes.append(reinterpret_cast<const char*>(begin), static_cast<size_t>(end - begin));
  return nb::bytes(bytes.data(), bytes.size());
}

nb::list packed(const std::vector<gguf::PackedWeight>& weights) {
  nb::list list;
  for (const gguf::PackedWeight& weight : weights) {
    nb::dict d;
    d["source"] = weight.source;
    d["rows"] = nb::make_tuple(weight.row_begin, weight.row_end);
    d["experts"] = weight.experts;
    d["stored"] = weight.stored;
    d["offset"] = weight.offset;
    d["format"] = gguf::ggml_type(weight.type)->name;
    list.append(d);
  }
  return list;
}

nb::list paths(const File& file) {
  nb::list list;
  for (const std::string& path : file.paths()) {
    list.append(nb::steal(
        PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size()))));
  }
  return list;
}

nb::list metadata_keys(const File& file) {
  nb::list keys;
  for (const gguf::Entry& entry : file.metadata()) keys.append(entry.key);
  return keys;
}

void tensor_info(nb::module_& m) {
  nb::class_<TensorInfo>(m, "TensorInfo", "A tensor of a GGUF file, without its data.")
      .def_ro("name", &TensorInfo::name, "Name in the file, such as 'blk.0.attn_q.weight'.")
      .def_prop_ro("type_name", &type_name, "Name of the ggml type, such as 'Q4_K'.")
      .def_ro("type_id", &TensorInfo::type, "Id of the ggml type, such as 12.")
      .def_prop_ro("shape", &shape, nb::sig("def shape(self) -> tuple[int, ...]"),
                   "Slowest dimension first, as in numpy.")
      .def_ro("bytes", &TensorInfo::bytes, "Size of the data.")
      .def_ro("packed", &TensorInfo::packed,
              "Whether a converted file holds it packed only; `offset` is where its panels begin.")
      .def_ro("shard", &TensorInfo::shard, "Index into GgufFile.paths.")
      .def_ro("offset", &TensorInfo::offset, "Position of the data in its shard, in bytes.")
      .def("__repr__", [](const TensorInfo& t) {
        return "TensorInfo('" + t.name + "', " + std::string(type_name(t)) + ", " +
               nb::cast<std::string>(nb::str(shape(t))) + ")";
      });
}

}  // namespace

void gguf(nb::module_& m) {
  tensor_info(m);
  nb::class_<File>(m, "GgufFile",
                   "A GGUF model, mapped into memory: metadata and tensor directory.\n\n"
                   "Given the first file of a split model, opens the others too. Raises\n"
                   "ModelFormatError, UnsupportedModelError, InvalidRequestError (not the first\n"
                   "file of a split model) or StorageError.")
      .def(nb::new_([](const FilePath& path) {
             nb::gil_scoped_release release;
             return File::open(path.text);
           }),
           nb::arg("path"))
      .def_prop_ro("paths", &paths, nb::sig("def paths(self) -> list[str]"),
                   "The model's files, in order.")
      .def_prop_ro("version", &File::version, "Version of the GGUF format: 2 or 3.")
      .def("metadata_keys", &metadata_keys, nb::sig("def metadata_keys(self) -> list[str]"),
           "Keys in the file's order.")
      .def(
          "get",
          [](const File& file, std::string_view key, nb::object fallback) {
            const Value* value = file.value(key);
            return value != nullptr ? Decoder(file, key).decode(*value) : fallback;
          },
          nb::arg("key"), nb::arg("default") = nb::none(),
          nb::sig("def get(self, key: str, default: typing.Any = None) -> typing.Any"),
          "The value of a key: int, float, bool or str; for an array of numbers a 1-D numpy\n"
          "array of the stored type, for strings or nested arrays a list. Raises\n"
          "ModelFormatError if a string is not UTF-8.")
      .def("__contains__",
           [](const File& file, std::string_view key) { return file.value(key) != nullptr; })
      .def("tensors", &File::tensors, nb::rv_policy::reference_internal,
           "All tensors, shard by shard, in the files' order; of a converted file those of the\n"
           "original.")
      .def_prop_ro("container_version", &File::container_version,
                   "Version of the layout of a converted file; 0 for any other.")
      .def("stored_tensors", &File::stored, nb::rv_policy::reference_internal,
           "The tensors that lie in a converted file; empty for any other.")
      .def(
          "packed", [](const File& file) { return packed(file.packed()); },
          nb::sig("def packed(self) -> list[dict[str, typing.Any]]"),
          "What a converted file holds packed: source (a tensor), rows (begin, end), experts,\n"
          "stored (an index into stored_tensors), offset (in that tensor, or in each record) and\n"
          "format.")
      .def(
          "low_packed", [](const File& file) { return packed(file.low_packed()); },
          nb::sig("def low_packed(self) -> list[dict[str, typing.Any]]"),
          "The low copies of experts in a converted file, as packed() says it; empty without any.")
      .def("metadata_bytes", &metadata_bytes, nb::arg("key"),
           "A value as the file encodes it, its type first. Raises KeyError.")
      .def("tensor_bytes", &tensor_bytes, nb::arg("name"),
           nb::sig("def tensor_bytes(self, name: str) -> "
                   "numpy.typing.NDArray[numpy.uint8]"),
           "The tensor's stored bytes as a read-only uint8 array over the mapped file. Raises\n"
           "KeyError.");
}

}  // namespace zs::bind
