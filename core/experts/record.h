// The record of an expert in a converted file: a 64-byte header, then gate, up and down packed.
// One read brings all that a token needs of an expert.
#pragma once

#include <cstdint>
#include <string>

#include "experts/layout.h"
#include "gguf/file.h"

namespace zs::experts {

// The Unified Tensor Header, little endian; docs/guides/formats.md describes the fields.
struct RecordHeader {
  char magic[4];  // "UTH1"
  uint16_t version;
  uint16_t flags;
  uint16_t format, down_format;  // GGUF type ids; format is that of gate and up
  uint32_t layer, expert;
  uint32_t d_model, d_ff, panel_rows;
  uint32_t up_offset, down_offset;  // from the start of the record
  uint32_t scale_offset;            // 0: scales lie in the panels
  uint32_t tile_hint;               // 0: none
  uint64_t payload_bytes;
  uint64_t checksum;  // xxh3-64 of the payload
};
static_assert(sizeof(RecordHeader) == 64);

inline constexpr uint16_t kRecordVersion = 1;
inline constexpr uint16_t kInterleavedRows = 1;  // flag

// Compares the headers of all records of a stored tensor with what the file's index says of them.
// Throws ModelFormat naming tensor, expert and field. Reads a page of each record.
void check_records(const gguf::File& file, uint32_t stored);

// Compares the checksum of a record, whose header has been checked, with that of its payload.
// Throws ModelFormat.
void check_payload(const gguf::File& file, uint32_t stored, uint64_t expert);

// What is wrong with a record that was read as `expert` of `layer`; empty if nothing. The payload
// is only looked at with `checksum`.
std::string fault_of(const uint8_t* record, const Layer& layer, uint32_t expert, bool checksum);

}  // namespace zs::experts
