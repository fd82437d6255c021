#pragma once
#include <napi.h>

// A UNIX stream socket whose messages carry descriptors. Each method is one system call or nearly so; native/socket.ts
// composes them and checks their arguments. It is closed with its object at the latest.
class Socket : public Napi::ObjectWrap<Socket> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Socket(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Socket>(info) {}
  ~Socket() override { Shut(); }

 private:
  Napi::Value Listen(const Napi::CallbackInfo& info);   // (path, backlog) -> fd
  Napi::Value Connect(const Napi::CallbackInfo& info);  // (path) -> fd
  Napi::Value Accept(const Napi::CallbackInfo& info);   // (the listener's fd) -> fd
  Napi::Value Receive(const Napi::CallbackInfo& info);  // (bytes, start, length, fds: count first) -> bytes
  Napi::Value Send(const Napi::CallbackInfo& info);     // (bytes, start, length, fds, milliseconds) -> bytes
  Napi::Value Write(const Napi::CallbackInfo& info);    // (bytes, start, length) -> bytes
  Napi::Value AwaitInput(const Napi::CallbackInfo& info);  // (milliseconds) -> 1 where there is something to receive, or 0
  void Close(const Napi::CallbackInfo& info);
  void Shut();

  int fd_ = -1;
};
