// gguf::File::open over mapped files; gguf/ itself holds no platform code.
#include "gguf/file.h"
#include "io/loss_watch.h"
#include "io/mapping.h"

namespace zs::gguf {

std::shared_ptr<File> File::open(const std::string& path) {
  return open(path, [](const std::string& part) -> FileBytes {
    std::shared_ptr<const io::Mapping> mapping = io::Mapping::open(part);
    return {mapping->bytes(), mapping,
            [file = mapping.get()](uint64_t offset, auto out) { return file->read(offset, out); },
            [part, mapping] { return std::make_unique<io::LossWatch>(part, mapping); }};
  });
}

}  // namespace zs::gguf
