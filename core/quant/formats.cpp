// The traits of every format, from its codec.
#include "quant/codecs.h"
#include "quant/format.h"

namespace zs::quant {
namespace {

template <class Codec>
constexpr FormatTraits make_traits(Format format, std::string_view name, uint32_t gguf_id) {
  return {format,
          name,
          gguf_id,
          Codec::kBlockValues,
          sizeof(typename Codec::Block),
          Codec::kActivations,
          decode_blocks<Codec>,
          pack_blocks<Codec>};
}

constexpr FormatTraits kTraits[] = {
#define ZS_FORMAT(type, name, id) make_traits<type>(Format::type, name, id),
#include "quant/formats.inc"
#undef ZS_FORMAT
};

}  // namespace

const FormatTraits& traits(Format format) {
  return kTraits[static_cast<size_t>(format)];
}

const FormatTraits* traits_by_gguf_id(uint32_t id) {
  for (const FormatTraits& t : kTraits) {
    if (t.gguf_id == id) return &t;
  }
  return nullptr;
}

}  // namespace zs::quant
