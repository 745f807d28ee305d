// Headers of records against the index of their file.
#include "graph/record.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gguf/report.h"
#include "quant/format.h"

namespace zs::graph {
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

}  // namespace

void check_records(const gguf::File& file, uint32_t stored) {
  const gguf::TensorInfo& tensor = file.stored()[stored];
  const auto fail = [&](const std::string& field, const std::string& found,
                        const std::string& expected) {
    gguf::fail_format(file.paths()[tensor.shard],
                      "tensor '" + gguf::printable(tensor.name) + "', " + field, found, expected,
                      "the file is damaged: convert the model again");
  };
  const auto parts = parts_of(file, stored);
  if (parts.size() != 3) {
    fail("record", std::to_string(parts.size()) + " weights", "gate, up and down");
  }
  const gguf::TensorInfo* gate = file.find(parts[0]->source);
  const gguf::TensorInfo* down = file.find(parts[2]->source);
  const uint64_t payload = tensor.dims[0] - sizeof(RecordHeader);
  for (uint64_t expert = 0; expert < tensor.dims[1]; ++expert) {
    RecordHeader header;
    std::memcpy(&header, tensor.data + expert * tensor.dims[0], sizeof(header));
    const std::string place = "record " + std::to_string(expert) + ", ";
    if (std::memcmp(header.magic, "UTH1", 4) != 0) {
      fail(place + "magic", "other bytes", "'UTH1'");
    }
    struct Field {
      const char* name;
      uint64_t found, expected;
    };
    const Field fields[] = {
        {"version", header.version, kRecordVersion},
        {"flags", header.flags, kInterleavedRows},
        {"dtype_id", header.format, gate->type},
        {"dtype_id_down", header.down_format, down->type},
        {"expert", header.expert, expert},
        {"offset of gate", parts[0]->offset, sizeof(RecordHeader)},
        {"d_model", header.d_model, gate->dims[0]},
        {"d_ff", header.d_ff, gate->dims[1]},
        {"rows per panel", header.panel_rows, quant::kPanelRows},
        {"up_offset", header.up_offset, parts[1]->offset},
        {"down_offset", header.down_offset, parts[2]->offset},
        {"quant_scale_offset", header.scale_offset, 0},
        {"payload_bytes", std::min(header.payload_bytes, payload), header.payload_bytes},
    };
    for (const Field& field : fields) {
      if (field.found == field.expected) continue;
      fail(place + field.name, std::to_string(field.found), std::to_string(field.expected));
    }
  }
}

}  // namespace zs::graph
