// Streaming of experts, from Python and back.
#pragma once

#include <nanobind/nanobind.h>

#include "experts/states.h"
#include "experts/store.h"
#include "graph/program.h"

namespace zs::bind {

// Sets options.experts and options.reads from a dict whose keys engine/streaming.py lists. Throws
// InvalidRequest for one that is not known.
void read_streaming(const nanobind::dict& streaming, graph::EngineOptions& options);

// How files are read: name, direct, and why not as asked for, or "".
nanobind::dict reader_dict(io::ReadQueue& queue);

nanobind::dict stats_dict(const experts::Stats& stats);

// A dict for each layer, of float32 arrays [tokens, width], by the names of StateKind.
nanobind::list states_list(std::vector<experts::LayerStates> layers);

// [(step, layer, [expert], [tokens], "hsm"), ...]
nanobind::list trace_list(const std::vector<experts::TraceEvent>& events);

}  // namespace zs::bind
