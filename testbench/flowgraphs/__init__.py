"""GNU Radio flowgraphs, run by the Python that has GNU Radio, each a program that ends when its standard input closes."""
