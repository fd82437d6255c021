{
  "targets": [
    {
      "target_name": "fauxnic",
      "sources": [
        "src/addon.cc",
        "src/batch.cc",
        "src/checked.cc",
        "src/descriptor.cc",
        "src/kernels.cc",
        "src/memory.cc",
        "src/netdev.cc",
        "src/poll.cc",
        "src/registers.cc",
        "src/release.cc",
        "src/rtnetlink.cc",
        "src/socket.cc",
        "src/tap.cc",
        "src/vfio.cc",
        "src/wait.cc"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "cflags_cc!": ["-std=gnu++20", "-fno-rtti"],
      "cflags_cc": ["-std=c++17", "-fno-exceptions", "-fvisibility=hidden", "-Wall", "-Wextra"]
    }
  ]
}
