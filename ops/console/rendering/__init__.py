"""From values to HTML: templates, the frame of each page, charts."""
