#pragma once
#include <napi.h>

// What touches every byte of a frame, for memory that WebAssembly does not see: a guest's. See sim/kernels/index.ts.
namespace kernels {
void Define(Napi::Env env, Napi::Object exports);
}
