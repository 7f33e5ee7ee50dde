"""What will happen: moments through layers, their fixed points, and proofs about them."""
