// Every format's codec.
#pragma once

#include "quant/format.h"

#define ZS_FORMAT_HEADERS
#include "quant/formats.inc"
#undef ZS_FORMAT_HEADERS
