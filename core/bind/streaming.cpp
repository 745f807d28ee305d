// What Python says of streaming, and what it wants to know.
#include "bind/streaming.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "base/error.h"
#include "bind/arrays.h"
#include "bind/dict_options.h"
#include "bind/reader_options.h"

namespace nb = nanobind;

namespace zs::bind {
namespace {

experts::Policy policy_named(const std::string& name) {
  if (name == "lrfu") return experts::Policy::Lrfu;
  if (name == "lru") return experts::Policy::Lru;
  if (name == "lfu") return experts::Policy::Lfu;
  throw Error(ErrorKind::InvalidRequest, "policy is '" + name + "', expected lrfu, lru or lfu");
}

experts::Pace pace_from(const nb::dict& dict) {
  DictOptions from(dict);
  const auto time = [&from](const char* key) {
    const std::chrono::duration<double, std::micro> us(from.get(key, 0.0));
    if (us.count() >= 0 && us < std::chrono::hours(1)) {
      return std::chrono::duration_cast<std::chrono::nanoseconds>(us);
    }
    throw Error(ErrorKind::InvalidRequest,
                std::string("pace: ") + key + " is not from 0 to 1 hour");
  };
  experts::Pace pace;
  pace.layer = time("layer_us");
  pace.expert = time("expert_us");
  from.refuse_others("pace");
  return pace;
}

graph::TrainedGuess trained_guess(const nb::dict& dict) {
  graph::TrainedGuess guess;
  guess.layer = nb::cast<size_t>(dict["layer"]);
  guess.stage = nb::cast<bool>(dict["late"]) ? experts::Guess::Late : experts::Guess::Early;
  const auto a = nb::cast<FloatMatrixInput>(dict["a"]), b = nb::cast<FloatMatrixInput>(dict["b"]);
  const auto bias = nb::cast<FloatInput>(dict["bias"]);
  guess.rank = a.shape(0);
  guess.width = a.shape(1);
  guess.experts = b.shape(0);
  if (guess.rank == 0 || b.shape(1) != guess.rank || bias.size() != guess.experts) {
    throw Error(ErrorKind::InvalidRequest, "a, b and bias of a trained guess do not fit");
  }
  guess.a.assign(a.data(), a.data() + a.size());
  guess.b.assign(b.data(), b.data() + b.size());
  guess.bias.assign(bias.data(), bias.data() + bias.size());
  return guess;
}

FloatMatrix matrix(std::vector<float>&& values, size_t width) {
  auto* keep = new std::vector<float>(std::move(values));
  nb::capsule owner(keep, [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
  return FloatMatrix(keep->data(), {keep->size() / width, width}, owner);
}

}  // namespace

void read_streaming(const nb::dict& streaming, graph::EngineOptions& options) {
  DictOptions from(streaming);
  experts::Options& experts = options.experts;
  experts.bytes = from.get<size_t>("bytes", 0);
  experts.policy = policy_named(from.get<std::string>("policy", "lrfu"));
  experts.half_life = from.get("half_life", experts.half_life);
  experts.speculate = from.get("speculate", experts.speculate);
  experts.prefault = from.get("prefault", experts.prefault);
  experts.check_records = from.get("check_records", experts.check_records);
  experts.node = from.get("node", experts.node);
  experts.route_margin = from.get("route_margin", experts.route_margin);
  experts.low_copies = from.get("low_copies", experts.low_copies);
  experts.trace = from.get("trace", experts.trace);
  experts.memory_root = from.get("memory_root", experts.memory_root);
  experts.idle_look =
      std::chrono::milliseconds(from.get<int64_t>("idle_look_ms", experts.idle_look.count()));
  experts.profile = from.get("profile", experts.profile);
  experts.habits = from.get("habits", experts.habits);
  options.state_bytes = from.get("record_states", options.state_bytes);
  graph::TrainedGuesses trained;
  for (nb::handle guess : from.get("trained", nb::list())) {
    trained.push_back(trained_guess(nb::cast<nb::dict>(guess)));
  }
  options.trained = std::make_shared<const graph::TrainedGuesses>(std::move(trained));
  io::QueueOptions& reads = options.reads;
  reads.reader.kind = io::reader_kind(from.get<std::string>("io", "auto"));
  reads.reader.depth = from.get("depth", reads.reader.depth);
  reads.reader.direct = from.get("direct", reads.reader.direct);
  reads.reader.cpus = from.get("cpus", std::vector<int>());
  reads.request_bytes = from.get("request_bytes", reads.request_bytes);
  for (const auto& mirror : from.get("mirrors", std::vector<std::vector<std::string>>())) {
    reads.mirrors.push_back(mirror);
  }
  const nb::dict none;
  const auto throttle = from.get("throttle", none), faults = from.get("faults", none);
  const auto pace = from.get("pace", none);
  if (nb::len(throttle) > 0) reads.reader.throttle = throttle_from(throttle);
  if (nb::len(pace) > 0) experts.pace = pace_from(pace);
  if (nb::len(faults) > 0) reads.reader.faults = faults_from(faults);
  from.refuse_others("streaming");
  if (experts.bytes == 0) {
    throw Error(ErrorKind::InvalidRequest, "streaming needs bytes for experts, above 0");
  }
  if (experts.pace && !(reads.reader.throttle && reads.reader.throttle->simulated)) {
    throw Error(ErrorKind::InvalidRequest, "pace needs a throttle that is simulated");
  }
  if (!(experts.route_margin >= 0)) {
    throw Error(ErrorKind::InvalidRequest, "route_margin is below 0");
  }
  if (!(experts.half_life > 0)) {
    throw Error(ErrorKind::InvalidRequest, "half_life is not above 0 steps");
  }
}

nb::dict reader_dict(io::ReadQueue& queue) {
  nb::dict d;
  d["name"] = queue.reader().name();
  d["direct"] = queue.reader().direct();
  d["why"] = queue.why();
  return d;
}

nb::dict stats_dict(const experts::Stats& s) {
  nb::dict d;
  d["demanded"] = s.demanded;
  d["hits"] = s.hits;
  d["shadow_hits"] = s.shadow_hits;
  d["misses"] = s.misses;
  d["low_used"] = s.low_used;
  d["speculated"] = s.speculated;
  d["wasted"] = s.wasted;
  d["predicted"] = s.predicted;
  d["foreseen"] = s.foreseen;
  d["evictions"] = s.evictions;
  d["upgrades"] = s.upgrades;
  d["bytes_read"] = s.bytes_read;
  d["low_bytes"] = s.low_bytes;
  d["bytes_wasted"] = s.bytes_wasted;
  d["stall_ns"] = s.stall_ns;
  d["read_ns"] = s.read_ns;
  d["given"] = s.given;
  d["slots"] = s.slots;
  d["resident"] = s.resident;
  d["prefetched_bytes"] = s.prefetched_bytes;
  d["released_bytes"] = s.released_bytes;
  return d;
}

nb::list states_list(std::vector<experts::LayerStates> layers) {
  static constexpr const char* kNames[experts::kStateKinds] = {
      "early_input", "late_input", "early_guess", "late_guess", "logits"};
  nb::list list;
  for (experts::LayerStates& layer : layers) {
    nb::dict d;
    for (size_t kind = 0; kind < experts::kStateKinds; ++kind) {
      experts::StateRows& rows = layer[kind];
      if (rows.width > 0) d[kNames[kind]] = matrix(std::move(rows.values), rows.width);
    }
    list.append(d);
  }
  return list;
}

nb::list trace_list(const std::vector<experts::TraceEvent>& events) {
  nb::list lines;
  for (size_t i = 0; i < events.size();) {
    nb::list experts, tokens;
    std::string outcomes;
    const auto& first = events[i];
    for (; i < events.size() && events[i].step == first.step && events[i].layer == first.layer;
         ++i) {
      experts.append(events[i].expert);
      tokens.append(events[i].tokens);
      outcomes += "hsm"[static_cast<int>(events[i].outcome)];
    }
    lines.append(nb::make_tuple(first.step, first.layer, experts, tokens, outcomes));
  }
  return lines;
}

}  // namespace zs::bind
