#include "rtnetlink.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "checked.h"
#include "netdev.h"

namespace rtnetlink {

namespace {

constexpr int kMostAtOnce = 256;

Napi::Value Result(const Napi::CallbackInfo& info, int64_t result) {
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

// What is told is no more than a reason to look: a queue that overflowed (ENOBUFS) is one as well.
Napi::Value Drain(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>();
  char nothing;
  for (int i = 0; i < kMostAtOnce; i++) {
    if (recv(fd, &nothing, sizeof nothing, MSG_DONTWAIT | MSG_TRUNC) >= 0) continue;
    if (errno == EAGAIN) break;
    if (errno != ENOBUFS && errno != EINTR) return Result(info, -errno);
  }
  return Result(info, 0);
}

// The kernel answers within the request's own system call.
Napi::Value Ask(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>();
  const Napi::Uint8Array request = info[1].As<Napi::Uint8Array>();
  Napi::Uint8Array reply = info[2].As<Napi::Uint8Array>();
  if (send(fd, request.Data(), request.ByteLength(), MSG_DONTWAIT) < 0) return Result(info, -errno);
  for (;;) {
    sockaddr_nl from = {};
    iovec into = {reply.Data(), reply.ByteLength()};
    msghdr message = {};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    const ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Result(info, -errno);
    if (from.nl_pid != 0) continue;  // another process's
    return Result(info, message.msg_flags & MSG_TRUNC ? -EMSGSIZE : got);
  }
}

}  // namespace

int Open(int tun, bool told) {
  const int fd = netdev::Socket(tun, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (fd < 0) return fd;
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = told ? RTMGRP_LINK : 0;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    const int failed = errno;
    close(fd);
    return -failed;
  }
  // What is stacked on the interface may be in a namespace of its own (a container's macvlan). Without the privilege
  // (CAP_NET_BROADCAST) that is not heard.
  const int all = told;
  setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &all, sizeof all);
  return fd;
}

void Define(Napi::Env env, Napi::Object exports) {
  Napi::Object it = Napi::Object::New(env);
  Offer<Drain, kNumber>(it, "drain");
  Offer<Ask, kNumber, kBytes, kBytes>(it, "ask");
  exports.Set("rtnetlink", it);
}

}  // namespace rtnetlink
