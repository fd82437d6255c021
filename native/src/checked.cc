#include "checked.h"

#include <cstdio>

namespace {

bool IsArrayOf(napi_env env, napi_value value, napi_typedarray_type wanted) {
  napi_typedarray_type type;
  return napi_get_typedarray_info(env, value, &type, nullptr, nullptr, nullptr, nullptr) == napi_ok && type == wanted;
}

bool Is(napi_env env, napi_value value, Type type) {
  napi_valuetype kind;
  bool buffer = false;
  switch (type) {
    case kBuffer:
      return napi_is_arraybuffer(env, value, &buffer) == napi_ok && buffer;
    case kBytes:
      return IsArrayOf(env, value, napi_uint8_array);
    case kInts:
      return IsArrayOf(env, value, napi_int32_array);
    case kDoubles:
      return IsArrayOf(env, value, napi_float64_array);
    default:
      break;
  }
  if (napi_typeof(env, value, &kind) != napi_ok) return false;
  switch (type) {
    case kNumber:
      return kind == napi_number;
    case kFlag:
      return kind == napi_boolean;
    case kText:
      return kind == napi_string;
    default:
      return kind == napi_function;
  }
}

const char* NameOf(Type type) {
  static constexpr const char* kNames[] = {"a number",       "a boolean",    "a string",      "a function",
                                           "an ArrayBuffer", "a Uint8Array", "an Int32Array", "a Float64Array"};
  return kNames[static_cast<int>(type)];
}

}  // namespace

bool Fits(const Napi::CallbackInfo& info, std::initializer_list<Type> types) {
  const napi_env env = info.Env();
  size_t at = 0;
  for (const Type type : types) {
    if (!Is(env, info[at++], type)) {
      char message[64];
      snprintf(message, sizeof message, "argument %zu must be %s", at, NameOf(type));
      napi_throw_type_error(env, nullptr, message);
      return false;
    }
  }
  return true;
}

bool Inside(Napi::Env env, int64_t start, int64_t length, size_t size) {
  const int64_t most = static_cast<int64_t>(size);
  if (start >= 0 && length >= 0 && start <= most && length <= most - start) return true;
  napi_throw_range_error(env, nullptr, "that is outside of its memory");
  return false;
}
