// Rows of floats, one vector for each layer and kind.
#include "experts/states.h"

#include <algorithm>

namespace zs::experts {

States::States(const std::vector<Layer>& layers, size_t bytes) : layers_(layers.size()) {
  size_t floats = 0;  // of one token
  for (const Layer& layer : layers) floats += 2 * layer.parts[0].columns + 3 * layer.experts;
  most_ = bytes / std::max<size_t>(1, floats * sizeof(float));
}

void States::begin(size_t tokens) {
  step_ = std::min(tokens, most_ - kept_);
  for (LayerStates& layer : layers_) {
    for (StateRows& rows : layer) rows.values.resize(kept_ * rows.width);
  }
}

void States::add(size_t layer, StateKind kind, const float* rows, size_t width) {
  StateRows& to = layers_[layer][static_cast<size_t>(kind)];
  to.width = width;
  to.values.insert(to.values.end(), rows, rows + step_ * width);
}

std::vector<LayerStates> States::take() {
  begin(0);
  kept_ = 0;
  return std::exchange(layers_, std::vector<LayerStates>(layers_.size()));
}

}  // namespace zs::experts
