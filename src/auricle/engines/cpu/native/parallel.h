// What every kernel file shares: symbols that Python finds.
#pragma once

#include <cstdint>

#define AURICLE_EXPORT extern "C" __attribute__((visibility("default")))
