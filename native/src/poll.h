#pragma once
#include <napi.h>
#include <uv.h>

// Calls JavaScript from the event loop while a descriptor can be read: uv_poll_t, which is level-triggered.
class Poll : public Napi::ObjectWrap<Poll> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Poll(const Napi::CallbackInfo& info);  // (readable)
  ~Poll() override;

 private:
  struct Handle;

  Napi::Value Open(const Napi::CallbackInfo& info);   // (fd)
  Napi::Value Start(const Napi::CallbackInfo& info);  // ()
  void Stop(const Napi::CallbackInfo& info);
  void Hold(const Napi::CallbackInfo& info);  // (whether it keeps the process alive)
  void Close(const Napi::CallbackInfo& info);
  void Ready();
  void Stopped();

  Handle* handle_ = nullptr;
  bool started_ = false;
  Napi::FunctionReference readable_;
  Napi::AsyncContext context_;
};
