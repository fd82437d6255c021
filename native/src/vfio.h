#pragma once
#include <napi.h>

// VFIO and iommufd, an ioctl a function. Descriptors belong to the caller.
namespace vfio {

void Define(Napi::Env env, Napi::Object exports);

}  // namespace vfio
