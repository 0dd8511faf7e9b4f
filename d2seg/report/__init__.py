"""What ``d2seg demo`` does and the page it writes."""
