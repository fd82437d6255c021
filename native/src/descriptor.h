#pragma once
#include <napi.h>

// Descriptors that belong to whoever made or received them.
namespace descriptor {

void Define(Napi::Env env, Napi::Object exports);

}  // namespace descriptor
