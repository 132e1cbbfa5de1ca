"""GNU Radio in the loop: find it, start its flowgraphs, fine-tune through them."""
