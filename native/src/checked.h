#pragma once
#include <napi.h>

#include <initializer_list>
#include <type_traits>

// What an argument must be. A function names its arguments' types where it is offered to JavaScript, and is only called
// with them: with any other there is a TypeError and no call.
enum Type { kNumber, kFlag, kText, kFunction, kBuffer, kBytes, kInts, kDoubles };

// Whether they are; where not, a TypeError is pending.
bool Fits(const Napi::CallbackInfo& info, std::initializer_list<Type> types);

// Whether [start, start + length) is inside of `size`; where not, a RangeError is pending.
bool Inside(Napi::Env env, int64_t start, int64_t length, size_t size);

template <auto function, Type... types>
Napi::Value Checked(const Napi::CallbackInfo& info) {
  return Fits(info, {types...}) ? function(info) : Napi::Value();
}

template <auto function, Type... types>
void Offer(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<Checked<function, types...>>(exports.Env(), name));
}

// A class whose methods are offered in the same way. (V8 sees to it that `this` is one of its objects.)
template <typename Self>
class Object : public Napi::ObjectWrap<Self> {
 public:
  using Napi::ObjectWrap<Self>::ObjectWrap;

  template <auto method, Type... types>
  static Napi::ClassPropertyDescriptor<Self> Method(const char* name) {
    napi_property_descriptor offered = {};
    offered.utf8name = name;
    offered.attributes = napi_default_method;
    offered.method = [](napi_env env, napi_callback_info call) -> napi_value {
      const Napi::CallbackInfo info(env, call);
      if (!Fits(info, {types...})) return nullptr;
      Self* const self = Self::Unwrap(info.This().As<Napi::Object>());
      if (!self) return nullptr;
      if constexpr (std::is_void_v<decltype((self->*method)(info))>) {
        (self->*method)(info);
        return nullptr;
      } else {
        return (self->*method)(info);
      }
    };
    return offered;
  }
};
