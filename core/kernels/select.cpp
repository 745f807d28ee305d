// Which instruction set runs: the best one, or the one that ZEROSTALL_ISA names.
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "cpu/features.h"
#include "kernels/isa_tables.h"
#include "kernels/table.h"

namespace zs::kernels {
namespace {

constexpr Isa kBestFirst[] = {Isa::Avx512, Isa::Avx2, Isa::Scalar};

std::string known_names() {
  std::string names;
  for (Isa isa : kBestFirst) {
    if (table(isa)) names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  return names;
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::Scalar: return "scalar";
    case Isa::Avx2: return "avx2";
    case Isa::Avx512: return "avx512";
  }
  return "";
}

const Table* table(Isa isa) {
#ifdef ZS_X86
  const cpu::Features features = cpu::detect_features();
  if (isa == Isa::Avx512) return features.avx512 ? avx512_table() : nullptr;
  if (isa == Isa::Avx2) return features.avx2 ? avx2_table() : nullptr;
#endif
  return isa == Isa::Scalar ? scalar_table() : nullptr;
}

const Table& select() {
  const char* forced = std::getenv("ZEROSTALL_ISA");
  const bool any = forced == nullptr || *forced == '\0';
  for (Isa isa : kBestFirst) {
    if (!any && std::string(forced) != isa_name(isa)) continue;
    if (const Table* found = table(isa)) return *found;
    if (!any) {
      throw Error(ErrorKind::InvalidRequest, std::string("ZEROSTALL_ISA=") + forced +
                                                 ": this CPU or build lacks that instruction set; "
                                                 "it has " +
                                                 known_names() + ".");
    }
  }
  throw Error(ErrorKind::InvalidRequest, std::string("ZEROSTALL_ISA=") + forced +
                                             " names no instruction set; this CPU has " +
                                             known_names() + ".");
}

}  // namespace zs::kernels
