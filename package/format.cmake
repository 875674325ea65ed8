# Read by cpack for each format: what of the installed files goes into it.

if(NOT CPACK_INSTALL_CMAKE_PROJECTS) # of the sources, nothing is installed
    return()
endif()
if(CPACK_GENERATOR STREQUAL DEB)
    set(own debian)
else()
    set(own elsewhere)
endif()
list(GET CPACK_INSTALL_CMAKE_PROJECTS 0 build)
set(components)
foreach(component Unspecified ${own} folders)
    list(APPEND components ${build} h2olog ${component} /)
endforeach()
set(CPACK_INSTALL_CMAKE_PROJECTS "${components}")
