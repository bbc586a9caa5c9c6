"""The world that kiva-relay is played in: an institution, its tellers, a coordinator, faults and judges."""
