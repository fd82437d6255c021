#pragma once
#include <napi.h>
#include <poll.h>
#include <uv.h>

#include <vector>

#include "checked.h"

// The thread's own wait, in the event loop's place: for descriptors whose readers count microseconds. Just before the loop
// would go to sleep it sleeps here, in poll(2) on these descriptors and on the loop's own (uv_backend_fd), no longer than
// the loop would, and calls JavaScript for what it finds until the loop has something to do as well.
class Wait : public Object<Wait> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Wait(const Napi::CallbackInfo& info);  // (ready: called with a place)
  ~Wait() override;

 private:
  struct Handle;

  Napi::Value Open(const Napi::CallbackInfo& info);  // ()
  Napi::Value Add(const Napi::CallbackInfo& info);   // (fd) -> its place
  void Until(const Napi::CallbackInfo& info);        // (place, POLLIN, POLLOUT or neither); its end is told of in any case
  void Remove(const Napi::CallbackInfo& info);       // (place)
  void BeforeSleep(uv_loop_t* loop);
  void Ready(size_t place);
  pollfd* At(const Napi::CallbackInfo& info);  // null where nothing is added there

  Handle* handle_ = nullptr;
  std::vector<pollfd> polled_;  // the loop's own, then one for each place; -1 where there is none
  size_t added_ = 0;
  Napi::FunctionReference ready_;
  Napi::AsyncContext context_;
};
