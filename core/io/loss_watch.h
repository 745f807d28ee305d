// What a mapped file cannot give any more, because it was cut short or its drive failed, reads as
// zeros instead of ending the process, as long as somebody watches; who does asks afterwards.
//
// The kernel says it with a signal (SIGBUS) to the thread that touches the page. The handler is the
// process's, so what is watched is a table of the process, too; signals of other memory go on to
// whatever handled them before.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gguf/file.h"
#include "io/mapping.h"

namespace zs::io {

class LossWatch final : public gguf::Watch {
 public:
  explicit LossWatch(std::shared_ptr<const Mapping> mapping);
  ~LossWatch() override;

  // The first byte that was lost since the last call, if any. The file is mapped anew then: what it
  // has by now is there again. Only while nobody uses the mapping.
  std::optional<uint64_t> take_lost() override;

 private:
  std::shared_ptr<const Mapping> mapping_;
  int place_;  // in the table; -1: it is full, and a loss still ends the process
};

// Throws Storage if one of them lost something, with its path.
void check_lost(const std::vector<std::unique_ptr<gguf::Watch>>& watches,
                const std::vector<std::string>& paths);

}  // namespace zs::io
