#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>

#include <cstring>

#include "batch.h"
#include "netdev.h"
#include "rtnetlink.h"

Napi::Function Tap::Define(Napi::Env env) {
  return DefineClass(env, "Tap",
                     {
                         Method<&Tap::Open>("open"),
                         Method<&Tap::Attach, kText, kFlag>("attach"),
                         Method<&Tap::Header, kNumber>("header"),
                         Method<&Tap::Offload, kNumber>("offload"),
                         Method<&Tap::Carrier, kFlag>("carrier"),
                         Method<&Tap::Mac, kBytes>("mac"),
                         Method<&Tap::Up, kFlag>("up"),
                         Method<&Tap::Mtu, kNumber>("mtu"),
                         Method<&Tap::Address, kNumber, kNumber>("address"),
                         Method<&Tap::Read>("read"),
                         Method<&Tap::Write>("write"),
                         Method<&Tap::Name>("name"),
                         Method<&Tap::Index>("index"),
                         Method<&Tap::Namespace>("namespace"),
                         Method<&Tap::Rtnetlink, kFlag>("rtnetlink"),
                         Method<&Tap::Refused>("refused"),
                         Method<&Tap::Close>("close"),
                     });
}

static Napi::Value Result(const Napi::CallbackInfo& info, int result) {
  return Napi::Number::New(info.Env(), result);
}

static Napi::Value Outcome(const Napi::CallbackInfo& info, int result) {
  return Result(info, result < 0 ? -errno : 0);
}

Napi::Value Tap::Open(const Napi::CallbackInfo& info) {
  Shut();
  fd_ = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  return Result(info, fd_ < 0 ? -errno : fd_);
}

Napi::Value Tap::Attach(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const bool header = info[1].As<Napi::Boolean>();
  ifreq ask = {};
  strncpy(ask.ifr_name, name.c_str(), IFNAMSIZ - 1);
  ask.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | (header ? IFF_VNET_HDR : 0));
  if (ioctl(fd_, TUNSETIFF, &ask) < 0) {
    const int failed = errno;
    // The kernel says EINVAL for a name that an interface of another kind bears.
    const bool taken = failed == EINVAL && netdev::Index(ask.ifr_name) > 0;
    return Result(info, taken ? -EEXIST : -failed);
  }
  name_ = ask.ifr_name;
  least_ = ETH_HLEN;
  return Result(info, 0);
}

Napi::Value Tap::Header(const Napi::CallbackInfo& info) {
  int bytes = info[0].As<Napi::Number>();
  int little = 1;  // as the virtio specification has it since 1.0, on hosts of either byte order
  if (ioctl(fd_, TUNSETVNETHDRSZ, &bytes) < 0 || ioctl(fd_, TUNSETVNETLE, &little) < 0) return Result(info, -errno);
  least_ = bytes + ETH_HLEN;
  return Result(info, 0);
}

Napi::Value Tap::Offload(const Napi::CallbackInfo& info) {
  return Outcome(info, ioctl(fd_, TUNSETOFFLOAD, info[0].As<Napi::Number>().Int64Value()));
}

Napi::Value Tap::Carrier(const Napi::CallbackInfo& info) {
  int on = info[0].As<Napi::Boolean>().Value();
  return Outcome(info, ioctl(fd_, TUNSETCARRIER, &on));
}

Napi::Value Tap::Mac(const Napi::CallbackInfo& info) {
  Napi::Uint8Array address = info[0].As<Napi::Uint8Array>();
  if (!Inside(info.Env(), 0, ETH_ALEN, address.ByteLength())) return {};
  ifreq ask = {};
  ask.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  memcpy(ask.ifr_hwaddr.sa_data, address.Data(), ETH_ALEN);
  return Outcome(info, ioctl(fd_, SIOCSIFHWADDR, &ask));
}

Napi::Value Tap::Up(const Napi::CallbackInfo& info) {
  return Result(info, netdev::Up(fd_, info[0].As<Napi::Boolean>()));
}

Napi::Value Tap::Mtu(const Napi::CallbackInfo& info) {
  return Result(info, netdev::Mtu(fd_, info[0].As<Napi::Number>()));
}

Napi::Value Tap::Address(const Napi::CallbackInfo& info) {
  return Result(info, netdev::Address(fd_, info[0].As<Napi::Number>(), info[1].As<Napi::Number>()));
}

Napi::Value Tap::Read(const Napi::CallbackInfo& info) {
  Batch batch;
  if (!batch.Take(info)) return {};
  const int result = batch.Read(info.Env(), fd_, least_);
  return result == Batch::kBadEntry ? Napi::Value() : Result(info, result);
}

Napi::Value Tap::Write(const Napi::CallbackInfo& info) {
  Batch batch;
  if (!batch.Take(info)) return {};
  const int result = batch.Write(info.Env(), fd_, &refused_);
  return result == Batch::kBadEntry ? Napi::Value() : Result(info, result);
}

Napi::Value Tap::Name(const Napi::CallbackInfo& info) {
  ifreq ask = {};
  if (ioctl(fd_, TUNGETIFF, &ask) == 0) name_ = ask.ifr_name;
  return Napi::String::New(info.Env(), name_);
}

Napi::Value Tap::Index(const Napi::CallbackInfo& info) { return Result(info, netdev::Index(fd_)); }

Napi::Value Tap::Namespace(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(netdev::Namespace(fd_)));
}

Napi::Value Tap::Rtnetlink(const Napi::CallbackInfo& info) {
  return Result(info, rtnetlink::Open(fd_, info[0].ToBoolean()));
}

Napi::Value Tap::Refused(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), refused_); }

void Tap::Close(const Napi::CallbackInfo&) { Shut(); }

void Tap::Shut() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}
