"""What a router learns from how its answers were received: outcomes and shadow pairs in, better policies out."""
