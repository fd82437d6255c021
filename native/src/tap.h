#pragma once
#include <napi.h>

#include <string>

#include "checked.h"

// A TAP interface's descriptor. Each method is one system call; native/tap.ts composes them and checks their arguments.
// It is closed with its object at the latest: a worker that ends takes its interfaces with it.
class Tap : public Object<Tap> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Tap(const Napi::CallbackInfo& info) : Object<Tap>(info) {}
  ~Tap() override { Shut(); }

 private:
  Napi::Value Open(const Napi::CallbackInfo& info);      // () -> fd
  Napi::Value Attach(const Napi::CallbackInfo& info);    // (name, vnetHeader)
  Napi::Value Header(const Napi::CallbackInfo& info);    // (bytes)
  Napi::Value Offload(const Napi::CallbackInfo& info);   // (TUN_F_ bits)
  Napi::Value Carrier(const Napi::CallbackInfo& info);   // (on)
  Napi::Value Mac(const Napi::CallbackInfo& info);       // (Uint8Array of 6)
  Napi::Value Up(const Napi::CallbackInfo& info);        // (up)
  Napi::Value Mtu(const Napi::CallbackInfo& info);       // (bytes)
  Napi::Value Address(const Napi::CallbackInfo& info);   // (address in host byte order, prefix length)
  Napi::Value Read(const Napi::CallbackInfo& info);      // (memory, vec, count) -> frames
  Napi::Value Write(const Napi::CallbackInfo& info);     // (memory, vec, count) -> entries
  Napi::Value Name(const Napi::CallbackInfo& info);      // () -> string: its present name, or the last it had
  Napi::Value Index(const Napi::CallbackInfo& info);     // () -> index in its namespace
  Napi::Value Namespace(const Napi::CallbackInfo& info);  // () -> inode
  Napi::Value Rtnetlink(const Napi::CallbackInfo& info);  // (told) -> fd
  Napi::Value Refused(const Napi::CallbackInfo& info);   // () -> number
  void Close(const Napi::CallbackInfo& info);
  void Shut();

  int fd_ = -1;
  int least_ = 0;  // bytes of the shortest frame with its header: what a read must have room for
  double refused_ = 0;
  std::string name_;
};
