#include "vfio.h"

#include <errno.h>
#include <sys/ioctl.h>

#include <linux/vfio.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "checked.h"

namespace vfio {

namespace {

// Linux 6.2's linux/iommufd.h and 6.6's linux/vfio.h, which older distributions' headers have not.
constexpr unsigned long kBindIommufd = _IO(VFIO_TYPE, VFIO_BASE + 18);
constexpr unsigned long kAttachIoas = _IO(VFIO_TYPE, VFIO_BASE + 19);
constexpr unsigned long kIoasAlloc = _IO(VFIO_TYPE, 0x81);
constexpr unsigned long kIoasRanges = _IO(VFIO_TYPE, 0x84);
constexpr unsigned long kIoasMap = _IO(VFIO_TYPE, 0x85);

struct BindIommufd {
  uint32_t argsz, flags;
  int32_t iommufd;
  uint32_t out_device;
};
struct AttachIoas {
  uint32_t argsz, flags, ioas;
};
struct IoasAlloc {
  uint32_t size, flags, out_ioas;
};
struct IoasRanges {
  uint32_t size, ioas, count, reserved;
  uint64_t ranges, out_alignment;
};
struct IoasMap {
  uint32_t size, flags, ioas, reserved;
  uint64_t address, length, iova;
};
constexpr uint32_t kFixedReadWrite = 1 | 2 | 4;

// What a range of device addresses is told as: its first and its last byte.
struct Range {
  uint64_t first, last;
};

Napi::Value Result(const Napi::CallbackInfo& info, int result) {
  return Napi::Number::New(info.Env(), result < 0 ? -errno : result);
}

int Fd(const Napi::CallbackInfo& info, size_t index = 0) { return info[index].As<Napi::Number>(); }

uint32_t Word(const Napi::CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>(); }

// As many pairs as there is room for, as doubles; returns how many there are.
Napi::Value Ranges(const Napi::CallbackInfo& info, Napi::Float64Array into, const Range* ranges, size_t count) {
  for (size_t i = 0; i < count && 2 * i + 1 < into.ElementLength(); i++) {
    into[2 * i] = static_cast<double>(ranges[i].first);
    into[2 * i + 1] = static_cast<double>(ranges[i].last);
  }
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

// Calls `visit` with each capability of an answer that begins with argsz and was read whole.
template <typename Visit>
void Capabilities(const std::vector<char>& answer, uint32_t offset, Visit visit) {
  for (int most = 64; most > 0 && offset != 0 && offset + sizeof(vfio_info_cap_header) <= answer.size(); most--) {
    const auto* header = reinterpret_cast<const vfio_info_cap_header*>(answer.data() + offset);
    visit(header, answer.size() - offset);
    offset = header->next;
  }
}

// Asks again with the room that the first answer asks for.
template <typename Info>
int Ask(int fd, unsigned long request, const Info& question, std::vector<char>* answer) {
  answer->assign(sizeof question, 0);
  for (;;) {
    Info* info = reinterpret_cast<Info*>(answer->data());
    memcpy(answer->data(), &question, sizeof question);
    info->argsz = static_cast<uint32_t>(answer->size());
    if (ioctl(fd, request, info) < 0) return -1;
    if (info->argsz <= answer->size() || info->argsz > 65536) return 0;
    answer->assign(info->argsz, 0);
  }
}

// ---- Group and container ----

// (container) -> 1 where it speaks this API and has a type 1 (v2) IOMMU
Napi::Value HasType1(const Napi::CallbackInfo& info) {
  const int fd = Fd(info);
  const int version = ioctl(fd, VFIO_GET_API_VERSION);
  if (version < 0) return Result(info, version);
  if (version != VFIO_API_VERSION) return Napi::Number::New(info.Env(), 0);
  return Result(info, ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU));
}

// (group) -> flags
Napi::Value GroupStatus(const Napi::CallbackInfo& info) {
  vfio_group_status status = {};
  status.argsz = sizeof status;
  if (ioctl(Fd(info), VFIO_GROUP_GET_STATUS, &status) < 0) return Result(info, -1);
  return Napi::Number::New(info.Env(), status.flags);
}

// (group, container)
Napi::Value SetContainer(const Napi::CallbackInfo& info) {
  int container = Fd(info, 1);
  return Result(info, ioctl(Fd(info), VFIO_GROUP_SET_CONTAINER, &container));
}

// (container): type 1, v2
Napi::Value SetIommu(const Napi::CallbackInfo& info) {
  return Result(info, ioctl(Fd(info), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
}

// (group, name) -> the device's descriptor
Napi::Value GroupDevice(const Napi::CallbackInfo& info) {
  const std::string name = info[1].As<Napi::String>();
  return Result(info, ioctl(Fd(info), VFIO_GROUP_GET_DEVICE_FD, name.c_str()));
}

// (container, Float64Array) -> ranges; 0 where the kernel does not tell
Napi::Value ContainerRanges(const Napi::CallbackInfo& info) {
  std::vector<char> answer;
  if (Ask(Fd(info), VFIO_IOMMU_GET_INFO, vfio_iommu_type1_info{}, &answer) < 0) return Result(info, -1);
  const auto* about = reinterpret_cast<const vfio_iommu_type1_info*>(answer.data());
  std::vector<Range> ranges;
  if (about->flags & VFIO_IOMMU_INFO_CAPS)
    Capabilities(answer, about->cap_offset, [&](const vfio_info_cap_header* header, size_t room) {
      const auto* cap = reinterpret_cast<const vfio_iommu_type1_info_cap_iova_range*>(header);
      if (header->id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE || room < sizeof *cap) return;
      const size_t fits = (room - sizeof *cap) / sizeof cap->iova_ranges[0];
      for (size_t i = 0; i < cap->nr_iovas && i < fits; i++)
        ranges.push_back({cap->iova_ranges[i].start, cap->iova_ranges[i].end});
    });
  return Ranges(info, info[1].As<Napi::Float64Array>(), ranges.data(), ranges.size());
}

// (container, ArrayBuffer, length, iova)
Napi::Value ContainerMap(const Napi::CallbackInfo& info) {
  auto memory = info[1].As<Napi::ArrayBuffer>();
  if (!Inside(info.Env(), 0, Word(info, 2), memory.ByteLength())) return {};
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof map;
  map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
  map.vaddr = reinterpret_cast<uintptr_t>(memory.Data());
  map.size = Word(info, 2);
  map.iova = Word(info, 3);
  return Result(info, ioctl(Fd(info), VFIO_IOMMU_MAP_DMA, &map));
}

// ---- iommufd ----

// (iommufd) -> an I/O address space's id
Napi::Value AllocIoas(const Napi::CallbackInfo& info) {
  IoasAlloc alloc = {sizeof alloc, 0, 0};
  if (ioctl(Fd(info), kIoasAlloc, &alloc) < 0) return Result(info, -1);
  return Napi::Number::New(info.Env(), alloc.out_ioas);
}

// (iommufd, ioas, Float64Array) -> ranges
Napi::Value RangesOfIoas(const Napi::CallbackInfo& info) {
  auto into = info[2].As<Napi::Float64Array>();
  std::vector<Range> ranges(into.ElementLength() / 2);
  IoasRanges ask = {sizeof ask, Word(info, 1), static_cast<uint32_t>(ranges.size()), 0, 0, 0};
  ask.ranges = reinterpret_cast<uintptr_t>(ranges.data());
  // EMSGSIZE: there are more; those that fit are there.
  if (ioctl(Fd(info), kIoasRanges, &ask) < 0 && errno != EMSGSIZE) return Result(info, -1);
  return Ranges(info, into, ranges.data(), ask.count < ranges.size() ? ask.count : ranges.size());
}

// (iommufd, ioas, ArrayBuffer, length, iova)
Napi::Value MapInIoas(const Napi::CallbackInfo& info) {
  auto memory = info[2].As<Napi::ArrayBuffer>();
  if (!Inside(info.Env(), 0, Word(info, 3), memory.ByteLength())) return {};
  IoasMap map = {sizeof map, kFixedReadWrite, Word(info, 1), 0, 0, Word(info, 3), Word(info, 4)};
  map.address = reinterpret_cast<uintptr_t>(memory.Data());
  return Result(info, ioctl(Fd(info), kIoasMap, &map));
}

// (device, iommufd)
Napi::Value Bind(const Napi::CallbackInfo& info) {
  BindIommufd bind = {sizeof bind, 0, Fd(info, 1), 0};
  return Result(info, ioctl(Fd(info), kBindIommufd, &bind));
}

// (device, ioas)
Napi::Value Attach(const Napi::CallbackInfo& info) {
  AttachIoas attach = {sizeof attach, 0, Word(info, 1)};
  return Result(info, ioctl(Fd(info), kAttachIoas, &attach));
}

// ---- The device ----

// (device, Float64Array of flags, regions, irqs)
Napi::Value DeviceInfo(const Napi::CallbackInfo& info) {
  vfio_device_info about = {};
  about.argsz = sizeof about;
  if (ioctl(Fd(info), VFIO_DEVICE_GET_INFO, &about) < 0) return Result(info, -1);
  auto into = info[1].As<Napi::Float64Array>();
  if (!Inside(info.Env(), 0, 3, into.ElementLength())) return {};
  into[0] = about.flags;
  into[1] = about.num_regions;
  into[2] = about.num_irqs;
  return Result(info, 0);
}

// (device, index, Float64Array of flags, size, offset, whether only parts may be mapped, and these: offset, size) -> parts
Napi::Value RegionInfo(const Napi::CallbackInfo& info) {
  vfio_region_info question = {};
  question.index = Word(info, 1);
  std::vector<char> answer;
  if (Ask(Fd(info), VFIO_DEVICE_GET_REGION_INFO, question, &answer) < 0) return Result(info, -1);
  const auto* about = reinterpret_cast<const vfio_region_info*>(answer.data());
  auto into = info[2].As<Napi::Float64Array>();
  if (!Inside(info.Env(), 0, 4, into.ElementLength())) return {};
  into[0] = about->flags;
  into[1] = static_cast<double>(about->size);
  into[2] = static_cast<double>(about->offset);
  into[3] = 0;  // whether only some of it may be mapped
  size_t pairs = 0;
  if (about->flags & VFIO_REGION_INFO_FLAG_CAPS)
    Capabilities(answer, about->cap_offset, [&](const vfio_info_cap_header* header, size_t room) {
      const auto* cap = reinterpret_cast<const vfio_region_info_cap_sparse_mmap*>(header);
      if (header->id != VFIO_REGION_INFO_CAP_SPARSE_MMAP || room < sizeof *cap) return;
      into[3] = 1;
      const size_t fits = (room - sizeof *cap) / sizeof cap->areas[0];
      for (size_t i = 0; i < cap->nr_areas && i < fits && 2 * pairs + 5 < into.ElementLength(); i++, pairs++) {
        into[4 + 2 * pairs] = static_cast<double>(cap->areas[i].offset);
        into[5 + 2 * pairs] = static_cast<double>(cap->areas[i].size);
      }
    });
  return Napi::Number::New(info.Env(), static_cast<double>(pairs));
}

// (device, index, Float64Array of flags, count)
Napi::Value IrqInfo(const Napi::CallbackInfo& info) {
  vfio_irq_info about = {};
  about.argsz = sizeof about;
  about.index = Word(info, 1);
  if (ioctl(Fd(info), VFIO_DEVICE_GET_IRQ_INFO, &about) < 0) return Result(info, -1);
  auto into = info[2].As<Napi::Float64Array>();
  if (!Inside(info.Env(), 0, 2, into.ElementLength())) return {};
  into[0] = about.flags;
  into[1] = about.count;
  return Result(info, 0);
}

// (device, flags, index, count, Int32Array of eventfds); more than 0: so many there are left
Napi::Value SetIrqs(const Napi::CallbackInfo& info) {
  auto fds = info[4].As<Napi::Int32Array>();
  std::vector<char> message(sizeof(vfio_irq_set) + fds.ByteLength(), 0);
  auto* set = reinterpret_cast<vfio_irq_set*>(message.data());
  set->argsz = static_cast<uint32_t>(message.size());
  set->flags = Word(info, 1);
  set->index = Word(info, 2);
  set->count = Word(info, 3);
  memcpy(set->data, fds.Data(), fds.ByteLength());
  return Result(info, ioctl(Fd(info), VFIO_DEVICE_SET_IRQS, set));
}

// (device)
Napi::Value Reset(const Napi::CallbackInfo& info) { return Result(info, ioctl(Fd(info), VFIO_DEVICE_RESET)); }

}  // namespace

void Define(Napi::Env env, Napi::Object exports) {
  Napi::Object vfio = Napi::Object::New(env);
  Offer<HasType1, kNumber>(vfio, "hasType1");
  Offer<GroupStatus, kNumber>(vfio, "groupStatus");
  Offer<SetContainer, kNumber, kNumber>(vfio, "setContainer");
  Offer<SetIommu, kNumber>(vfio, "setIommu");
  Offer<GroupDevice, kNumber, kText>(vfio, "groupDevice");
  Offer<ContainerRanges, kNumber, kDoubles>(vfio, "containerRanges");
  Offer<ContainerMap, kNumber, kBuffer, kNumber, kNumber>(vfio, "containerMap");
  Offer<AllocIoas, kNumber>(vfio, "allocIoas");
  Offer<RangesOfIoas, kNumber, kNumber, kDoubles>(vfio, "ioasRanges");
  Offer<MapInIoas, kNumber, kNumber, kBuffer, kNumber, kNumber>(vfio, "ioasMap");
  Offer<Bind, kNumber, kNumber>(vfio, "bind");
  Offer<Attach, kNumber, kNumber>(vfio, "attach");
  Offer<DeviceInfo, kNumber, kDoubles>(vfio, "deviceInfo");
  Offer<RegionInfo, kNumber, kNumber, kDoubles>(vfio, "regionInfo");
  Offer<IrqInfo, kNumber, kNumber, kDoubles>(vfio, "irqInfo");
  Offer<SetIrqs, kNumber, kNumber, kNumber, kNumber, kInts>(vfio, "setIrqs");
  Offer<Reset, kNumber>(vfio, "reset");
  exports.Set("vfio", vfio);
}

}  // namespace vfio
