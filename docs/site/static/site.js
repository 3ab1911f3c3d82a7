// A page that was opened from a folder may read no other file: the search shows its results without extracts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
