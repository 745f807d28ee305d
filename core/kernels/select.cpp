// Which instruction set runs: the best one, or the one that ZEROSTALL_ISA names.
#include "kernels/select.h"

#include <cstdlib>

#include "base/error.h"
#include "cpu/features.h"
#include "kernels/isa_tables.h"

namespace zs::kernels {

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::Scalar: return "scalar";
    case Isa::Avx2: return "avx2";
    case Isa::AvxVnni: return "avx_vnni";
    case Isa::Avx512: return "avx512";
    case Isa::Amx: return "amx";
    case Isa::Bf16Dot: return "bf16_dot";
    case Isa::AvxVnniModel: return "avx_vnni_model";
    case Isa::AmxModel: return "amx_model";
    case Isa::Bf16DotModel: return "bf16_dot_model";
  }
  return "";
}

const Table* table(Isa isa) {
#ifdef ZS_X86
  const cpu::Features features = cpu::detect_features();
  if (isa == Isa::Amx) {
    return features.amx_int8 && cpu::request_tiles() ? amx_table() : nullptr;
  }
  if (isa == Isa::Bf16Dot) {
    if (features.amx_bf16 && cpu::request_tiles()) return amx_bf16_table();
    return features.avx512_bf16 ? avx512_bf16_table() : nullptr;
  }
  if (isa == Isa::Avx512) return features.avx512 ? avx512_table() : nullptr;
  if (isa == Isa::AvxVnni) return features.avx_vnni ? avx_vnni_table() : nullptr;
  if (isa == Isa::AvxVnniModel) return features.avx2 ? avx_vnni_model_table() : nullptr;
  if (isa == Isa::Avx2) return features.avx2 ? avx2_table() : nullptr;
#endif
  if (isa == Isa::AmxModel) return amx_model_table();
  if (isa == Isa::Bf16DotModel) return bf16_dot_model_table();
  return isa == Isa::Scalar ? scalar_table() : nullptr;
}

namespace {
std::vector<Isa> present(Isa first, Isa last) {
  std::vector<Isa> found;
  for (Isa isa : kIsas) {
    if (first <= isa && isa <= last && table(isa)) found.push_back(isa);
  }
  return found;
}
}  // namespace

std::vector<Isa> available() {
  return present(Isa::Scalar, Isa::Amx);
}
std::vector<Isa> models() {
  return present(Isa::AvxVnniModel, Isa::AmxModel);
}

const Table& table_named(const std::string& name) {
  for (Isa isa : kIsas) {
    if (name != isa_name(isa)) continue;
    if (const Table* found = table(isa)) return *found;
  }
  std::string names;
  for (Isa isa : available()) names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  throw Error(ErrorKind::InvalidRequest, "instruction set \"" + name +
                                             "\" is unknown or missing on this CPU or in this "
                                             "build; it has " +
                                             names);
}

const Table& select() {
  const char* forced = std::getenv("ZEROSTALL_ISA");
  if (forced == nullptr || *forced == '\0') return *table(available().back());
  try {
    return table_named(forced);
  } catch (const Error& error) {
    throw Error(error.kind(), std::string("ZEROSTALL_ISA: ") + error.what());
  }
}

std::optional<Activation> find_activation(const std::string& name) {
  for (const auto& activation : kActivations) {
    if (name == activation.name) return activation.kind;
  }
  return std::nullopt;
}

std::string activation_names() {
  std::string names;
  for (const auto& activation : kActivations) {
    names += (names.empty() ? "" : ", ") + std::string(activation.name);
  }
  return names;
}

}  // namespace zs::kernels
