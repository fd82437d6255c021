#pragma once
#include <napi.h>

#include <cstddef>

#include "checked.h"

// A UNIX stream socket whose messages carry descriptors. Each method is one system call or nearly so; native/socket.ts
// composes them and checks their arguments. It is closed with its object at the latest.
class Socket : public Object<Socket> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Socket(const Napi::CallbackInfo& info) : Object<Socket>(info) {}
  ~Socket() override { Shut(); }

 private:
  Napi::Value Listen(const Napi::CallbackInfo& info);   // (path, backlog) -> fd
  Napi::Value Connect(const Napi::CallbackInfo& info);  // (path) -> fd
  Napi::Value Accept(const Napi::CallbackInfo& info);   // (the listener's fd) -> fd
  Napi::Value Adopt(const Napi::CallbackInfo& info);    // (fd) -> fd
  Napi::Value Receive(const Napi::CallbackInfo& info);  // (bytes, start, length, fds: count first) -> bytes
  Napi::Value Send(const Napi::CallbackInfo& info);     // (bytes, start, length, fds, milliseconds) -> bytes
  Napi::Value Write(const Napi::CallbackInfo& info);    // (bytes, start, length) -> bytes
  // (request, its length or 0, reply, milliseconds) -> the reply's bytes; 0: not whole yet, without milliseconds
  Napi::Value Exchange(const Napi::CallbackInfo& info);
  Napi::Value Wait(const Napi::CallbackInfo& info);     // (milliseconds) -> whether something can be read
  void Close(const Napi::CallbackInfo& info);
  void Shut();

  int fd_ = -1;
  size_t held_ = 0;  // bytes of a message that Exchange has not seen the end of
};
