// What a mapped file cannot give any more, because it was cut short or its drive failed, reads as
// zeros instead of ending the process, as long as somebody watches; who does asks afterwards.
//
// The kernel says it with a signal (SIGBUS) to the thread that touches the page. The handler is the
// process's, so what is watched is a table of the process, too; signals of other memory go on to
// whatever handled them before.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "gguf/file.h"
#include "io/mapping.h"

namespace zs::io {

class LossWatch final : public gguf::Watch {
 public:
  LossWatch(const std::string& path, std::shared_ptr<const Mapping> mapping);
  ~LossWatch() override;
  std::optional<Error> take_lost() override;

 private:
  std::string path_;
  std::shared_ptr<const Mapping> mapping_;
  int place_;  // in the table; -1: it is full, and a loss still ends the process
};

}  // namespace zs::io
