// A file's device number leads to its block device in sysfs, whose place in the tree of buses
// leads to a device that knows its node (numa_node of the PCI function).
#include "cpu/drive_node.h"

#include <sys/stat.h>

#include <sstream>
#include <string>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif

#include "cpu/sysfs.h"

namespace zs::cpu {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxLayers = 8;  // volumes over volumes

// -1 in numa_node: not known.
std::optional<int> node_above(fs::path device, const fs::path& devices) {
  for (; device != devices && device.has_relative_path(); device = device.parent_path()) {
    const auto node = read_number(device / "numa_node");
    if (node && *node >= 0) return static_cast<int>(*node);
  }
  return std::nullopt;
}

class Finder {
 public:
  explicit Finder(const fs::path& root) {
    std::error_code error;
    devices_ = fs::canonical(root / "sys/devices", error);
  }

  // Joins the node of one block device; false once nodes differ or one is unknown.
  bool visit(const fs::path& link, int layer = 0) {
    std::error_code error;
    const fs::path device = fs::canonical(link, error);
    if (error || layer > kMaxLayers) return false;
    if (const auto node = node_above(device, devices_)) return join(*node);
    // Volumes list what they consist of; an NVMe drive with several paths, its controllers.
    bool any = false;
    const bool partition = fs::exists(device / "partition", error);
    const fs::path disk = partition ? device.parent_path() : device;
    for (const auto& entry : fs::directory_iterator(disk / "slaves", error)) {
      any = true;
      if (!visit(entry.path(), layer + 1)) return false;
    }
    if (any || disk.parent_path().filename().string().rfind("nvme-subsys", 0) != 0) return any;
    for (const auto& entry : fs::directory_iterator(disk.parent_path(), error)) {
      if (!entry.is_symlink(error) || entry.path().filename() == "subsystem") continue;
      any = true;
      if (!visit(entry.path(), layer + 1)) return false;
    }
    return any;
  }

  std::optional<int> node() const { return node_; }

 private:
  bool join(int node) {
    if (node_ && *node_ != node) return false;
    node_ = node;
    return true;
  }

  fs::path devices_;
  std::optional<int> node_;
};

// The source of the mount that holds a file, for file systems such as btrfs whose device numbers
// belong to no block device: "36 35 0:31 / /data rw - btrfs /dev/nvme0n1p2 rw".
std::optional<std::string> mount_source(const fs::path& root, const fs::path& file) {
  const auto text = read_text(root / "proc/self/mountinfo");
  if (!text) return std::nullopt;
  std::optional<std::string> source;
  size_t longest = 0;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string skip, point, type, from;
    fields >> skip >> skip >> skip >> skip >> point;
    while (fields >> skip && skip != "-") {
    }
    if (!(fields >> type >> from) || point.size() < longest) continue;
    const fs::path below = file.lexically_relative(point);
    if (below.empty() || *below.begin() == "..") continue;
    longest = point.size();
    source = from;
  }
  return source;
}

}  // namespace

std::optional<int> drive_node(const fs::path& root, const fs::path& file) {
#ifdef __linux__
  struct stat info;
  if (stat(file.c_str(), &info) != 0) return std::nullopt;
  const std::string number =
      std::to_string(major(info.st_dev)) + ":" + std::to_string(minor(info.st_dev));
  fs::path device = root / "sys/dev/block" / number;
  std::error_code error;
  if (!fs::exists(device, error)) {
    const auto source = mount_source(root, fs::canonical(file, error));
    if (!source || source->rfind("/dev/", 0) != 0) return std::nullopt;
    device = root / "sys/class/block" / fs::path(*source).filename();
  }
  Finder finder(root);
  return finder.visit(device) ? finder.node() : std::nullopt;
#else
  (void)root, (void)file;
  return std::nullopt;
#endif
}

}  // namespace zs::cpu
