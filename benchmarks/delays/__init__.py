"""How late delayed orders are, beside kombu's; and what those that wait cost the others."""
