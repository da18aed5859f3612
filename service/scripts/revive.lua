-- Deliver again what somebody asks for: at once, as far as the endpoint's pace lets it.
-- ARGV     workspace, endpoint, which (letters of the states meant: p r d x c; - never there), event...
-- returns  how many were made to wait, how many are under way just now, how many were left as they are
local events = {}
for i = 4, #ARGV do events[i - 3] = ARGV[i] end
return {again(ARGV[1], ARGV[2], ARGV[3], clock(), true, events)}
