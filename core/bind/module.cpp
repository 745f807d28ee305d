// The extension module: a flat list of what each file of this folder binds.
#include "bind/bind.h"

NB_MODULE(_core, m) {
  m.doc() = "The C++ core of zerostall.";
  zs::bind::errors(m);
  zs::bind::gguf(m);
  zs::bind::quant(m);
  zs::bind::kernels(m);
  zs::bind::graph(m);
  zs::bind::sample(m);
  zs::bind::limits(m);
  zs::bind::topology(m);
  zs::bind::io(m);
  zs::bind::drive(m);
}
