"""The transparency log core: Merkle maths, tiles, signed notes, checkpoints and proofs, without I/O."""
