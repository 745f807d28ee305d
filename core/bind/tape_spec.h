// The tape, from Python.
#pragma once

#include <nanobind/nanobind.h>

#include "graph/tape.h"

namespace zs::bind {

// From zerostall.tape.Tape, read by its field names.
graph::TapeSpec tape_spec(nanobind::object tape);

}  // namespace zs::bind
