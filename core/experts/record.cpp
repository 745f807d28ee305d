// Headers of records against the index of their file.
#include "experts/record.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/xxh3.h"
#include "gguf/report.h"
#include "quant/format.h"

namespace zs::experts {
namespace {

using gguf::PackedWeight;

// Gate, up and down, which lie in this order.
std::vector<const PackedWeight*> parts_of(const gguf::File& file, uint32_t stored) {
  std::vector<const PackedWeight*> parts;
  for (const PackedWeight& weight : file.packed()) {
    if (weight.stored == stored) parts.push_back(&weight);
  }
  std::sort(parts.begin(), parts.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  return parts;
}

struct Expected {
  uint64_t format, down_format, gate_offset, up_offset, down_offset, d_model, d_ff, payload;
};

struct Fault {
  std::string field, found, expected;  // all empty: none
};

Fault compare(const uint8_t* record, const Expected& expected, uint64_t expert) {
  RecordHeader header;
  std::memcpy(&header, record, sizeof(header));
  if (std::memcmp(header.magic, "UTH1", 4) != 0) return {"magic", "other bytes", "'UTH1'"};
  const struct {
    const char* name;
    uint64_t found, expected;
  } fields[] = {
      {"version", header.version, kRecordVersion},
      {"flags", header.flags, kInterleavedRows},
      {"dtype_id", header.format, expected.format},
      {"dtype_id_down", header.down_format, expected.down_format},
      {"expert", header.expert, expert},
      {"offset of gate", expected.gate_offset, sizeof(RecordHeader)},
      {"d_model", header.d_model, expected.d_model},
      {"d_ff", header.d_ff, expected.d_ff},
      {"rows per panel", header.panel_rows, quant::kPanelRows},
      {"up_offset", header.up_offset, expected.up_offset},
      {"down_offset", header.down_offset, expected.down_offset},
      {"quant_scale_offset", header.scale_offset, 0},
      {"payload_bytes", std::min(header.payload_bytes, expected.payload), header.payload_bytes},
  };
  for (const auto& field : fields) {
    if (field.found == field.expected) continue;
    return {field.name, std::to_string(field.found), std::to_string(field.expected)};
  }
  return {};
}

[[noreturn]] void fail_record(const gguf::File& file, const gguf::TensorInfo& tensor,
                              const std::string& field, const std::string& found,
                              const std::string& expected) {
  gguf::fail_format(file.paths()[tensor.shard],
                    "tensor '" + gguf::printable(tensor.name) + "', " + field, found, expected,
                    "the file is damaged: convert the model again");
}

}  // namespace

void check_records(const gguf::File& file, uint32_t stored) {
  const gguf::TensorInfo& tensor = file.stored()[stored];
  const auto fail = [&](const std::string& field, const std::string& found,
                        const std::string& expected) {
    fail_record(file, tensor, field, found, expected);
  };
  const auto parts = parts_of(file, stored);
  if (parts.size() != 3) {
    fail("record", std::to_string(parts.size()) + " weights", "gate, up and down");
  }
  const gguf::TensorInfo* gate = file.find(parts[0]->source);
  const gguf::TensorInfo* down = file.find(parts[2]->source);
  const Expected expected{
      gate->type,       down->type,    parts[0]->offset, parts[1]->offset,
      parts[2]->offset, gate->dims[0], gate->dims[1],    tensor.dims[0] - sizeof(RecordHeader)};
  for (uint64_t expert = 0; expert < tensor.dims[1]; ++expert) {
    const Fault fault = compare(tensor.data + expert * tensor.dims[0], expected, expert);
    if (fault.field.empty()) continue;
    fail("record " + std::to_string(expert) + ", " + fault.field, fault.found, fault.expected);
  }
}

void check_payload(const gguf::File& file, uint32_t stored, uint64_t expert) {
  const gguf::TensorInfo& tensor = file.stored()[stored];
  const uint8_t* record = tensor.data + expert * tensor.dims[0];
  RecordHeader header;
  std::memcpy(&header, record, sizeof(header));
  const uint64_t found = xxh3_64(record + sizeof(header), header.payload_bytes);
  if (found == header.checksum) return;
  fail_record(file, tensor, "record " + std::to_string(expert) + ", checksum of the payload",
              std::to_string(found), std::to_string(header.checksum));
}

std::string fault_of(const uint8_t* record, const Layer& layer, uint32_t expert, bool checksum) {
  const auto& [gate, up, down] = layer.parts;
  const auto id = [](const Part& part) { return quant::traits(part.format).gguf_id; };
  const Fault fault = compare(record,
                              {id(gate), id(down), gate.packed_at, up.packed_at, down.packed_at,
                               gate.columns, gate.rows, layer.slot_bytes - sizeof(RecordHeader)},
                              expert);
  if (fault.field.empty()) {
    RecordHeader header;
    std::memcpy(&header, record, sizeof(header));
    const bool holds =
        !checksum || xxh3_64(record + sizeof(header), header.payload_bytes) == header.checksum;
    return holds ? "" : "checksum: that of other bytes";
  }
  return fault.field + ": found " + fault.found + ", expected " + fault.expected;
}

}  // namespace zs::experts
