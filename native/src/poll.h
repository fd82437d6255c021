#pragma once
#include <napi.h>
#include <uv.h>

#include "checked.h"

// Calls JavaScript from the event loop while a descriptor can be read, or written: uv_poll_t, which is level-triggered.
class Poll : public Object<Poll> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Poll(const Napi::CallbackInfo& info);  // (ready: called with READABLE 1 and WRITABLE 2, those that hold)
  ~Poll() override;

 private:
  struct Handle;

  Napi::Value Open(const Napi::CallbackInfo& info);   // (fd)
  Napi::Value Start(const Napi::CallbackInfo& info);  // (which of them to wait for)
  void Stop(const Napi::CallbackInfo& info);
  void Hold(const Napi::CallbackInfo& info);  // (whether it keeps the process alive)
  void Close(const Napi::CallbackInfo& info);
  void Ready(int events);
  void Stopped();

  Handle* handle_ = nullptr;
  int started_ = 0;  // what it waits for
  Napi::FunctionReference ready_;
  Napi::AsyncContext context_;
};
