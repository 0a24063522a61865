module qeetid/sdkcheck

go 1.24

require github.com/oapi-codegen/runtime v1.4.2
